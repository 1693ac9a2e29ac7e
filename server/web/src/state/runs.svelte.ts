/** The runs of a project as the server filters, sorts and groups them, each known by its id wherever it was seen.
 *
 * A run that is as it was stays the same object, so that what shows it is not made anew. Nothing here reads a point of a run.
 */

import { SvelteMap, SvelteSet } from "svelte/reactivity";
import { api } from "../api/client";
import type { Run, RunPage } from "../api/model";
import { FIELDS, groupValue, isFilled } from "./columns";
import { type Answer, Pages } from "./pages.svelte";

const PAGE = 100;

/** What is asked of the server. */
export interface Question {
  filter: string | null;
  /** with a "-" before it: the greatest first */
  sort: string;
  columns: readonly string[];
  /** the column that groups have in common */
  by: string | null;
}

/** What charts need of a run. The rest of it changes with every row that it logs, this does not. */
export interface Label {
  name: string;
  created: number;
}

/** The group of a run. key: the server's name for it; label: the value as people read it. */
export interface InGroup {
  key: string;
  label: string;
}

export function sortOf(sort: string): { sort: string; order: "asc" | "desc" } {
  return { sort: sort.replace(/^-/, ""), order: sort.startsWith("-") ? "desc" : "asc" };
}

export class KnownRuns {
  /** Every run seen, by id. */
  readonly known = new SvelteMap<string, Run>();
  readonly labels = new SvelteMap<string, Label>();
  /** Those of `FIELDS` that a run of the table has. */
  readonly filled = new SvelteSet<string>();
  /** The groups of runs, by id, of the column that is asked by now. */
  readonly inGroup = new SvelteMap<string, InGroup>();
  private by: string | null = null;
  /** The table without groups. */
  readonly table: Pages<Run>;

  constructor(
    private readonly project: string,
    private readonly question: () => Question,
  ) {
    this.table = this.list(null, () => this.filled.clear());
  }

  /** A list of runs: those of a group, or all for null. */
  list(group: string | null, anew: () => void = () => undefined): Pages<Run> {
    return new Pages<Run>(PAGE, (offset, limit) => this.page(group, offset, limit), anew);
  }

  /** Ask for a few runs of a group. They are known once the answer is taken in. */
  async page(group: string | null, offset: number, limit: number): Promise<() => Answer<Run>> {
    const { filter, sort, columns, by } = this.question();
    const answer = await api.runs(this.project, { filter, ...sortOf(sort), offset, limit, columns, by, group_key: group });
    return () => ({ total: answer.total, items: this.learnAll(answer.runs, by) });
  }

  /** Ask for runs that do not stand in the loaded part of the table. */
  async find(ids: readonly string[]): Promise<void> {
    const { columns, by } = this.question();
    const absent = ids.filter((id) => !this.known.has(id) || (by !== null && !(by === this.by && this.inGroup.has(id))));
    if (absent.length === 0) return;
    try {
      const filter = `id in [${absent.map((id) => JSON.stringify(id)).join(", ")}]`;
      const answer = await api.runs(this.project, { filter, limit: absent.length, columns, by });
      this.learnAll(answer.runs, by);
    } catch {
      // they stay nameless until the next answer
    }
  }

  /** Take runs in; as they are known already where nothing of them changed. by: what they were grouped by, which counts only while it is asked for. */
  learnAll(runs: RunPage["runs"], by: string | null = null): Run[] {
    if (by !== this.question().by) by = null;
    if (by !== null && by !== this.by) {
      this.by = by;
      this.inGroup.clear();
    }
    return runs.map((run) => this.learn(run, by));
  }

  private learn(run: Run, by: string | null): Run {
    for (const field of FIELDS) if (!this.filled.has(field) && isFilled(run, field)) this.filled.add(field);
    const key = run.group_key;
    if (by !== null && key !== null && key !== undefined && this.inGroup.get(run.id)?.key !== key) this.inGroup.set(run.id, { key, label: groupValue(run, by) });
    const old = this.known.get(run.id);
    if (old && JSON.stringify(old) === JSON.stringify(run)) return old;
    this.known.set(run.id, run);
    const label = this.labels.get(run.id);
    if (label?.name !== run.name || label.created !== run.created) this.labels.set(run.id, { name: run.name, created: run.created });
    return run;
  }
}
