import { afterEach, expect, test, vi } from "vitest";
import { api } from "../api/client";
import type { Run, RunGroup } from "../api/model";
import { FIELDS } from "./columns";
import { Groups } from "./groups.svelte";
import { KnownRuns, type Question } from "./runs.svelte";

afterEach(() => void vi.restoreAllMocks());

const NOTHING = { count: 0, shared: null };

/** A group of so many runs, all of which have notes when it says so. */
function group(key: string, runs: number, notes = false): RunGroup {
  const columns = Object.fromEntries(FIELDS.map((name) => [name, notes && name === "notes" ? { count: runs, shared: "n" } : NOTHING]));
  return { key, by: {}, runs, columns, first: [] } as unknown as RunGroup;
}

function run(id: string, group_key: string): Run {
  return { id, name: id, created: 0, group_key, config: {}, summary: {}, tags: [] } as unknown as Run;
}

test("an answer for another column than the one that is asked for by now changes no figure and no group of a run", async () => {
  const question: Question = { filter: null, sort: "name", columns: [], by: "config.a" };
  const known = new KnownRuns("p", () => question);
  const groups = new Groups("p", () => question, known, 5);
  const answers: (() => void)[] = [];
  vi.spyOn(api, "groups").mockImplementation((_, { by, first }) => {
    const found = by === "config.a" ? group("old", 600, true) : group("new", 7);
    const answer = { by: [by], total: 1, runs: found.runs, offset: 0, limit: 100, groups: first ? [] : [found] };
    return first ? Promise.resolve(answer) : new Promise((resolve) => answers.push(() => resolve(answer)));
  });
  void groups.reload();
  question.by = "config.b";
  void groups.reload();
  answers[1]!();
  await vi.waitFor(() => expect(groups.runs).toBe(7));
  known.learnAll([run("r", "new")], "config.b");

  answers[0]!();
  known.learnAll([run("r", "old")], "config.a");
  await new Promise((resolve) => setTimeout(resolve, 10));
  expect([groups.runs, known.filled.has("notes"), known.inGroup.get("r")?.key]).toEqual([7, false, "new"]);
});
