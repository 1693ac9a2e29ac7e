import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Gathered } from "./gathered";
import type { Change } from "./live.svelte";

class Tab extends EventTarget {
  hidden = false;
  listening = 0;
  override addEventListener(...args: Parameters<EventTarget["addEventListener"]>) {
    this.listening++;
    super.addEventListener(...args);
  }
  override removeEventListener(...args: Parameters<EventTarget["removeEventListener"]>) {
    this.listening--;
    super.removeEventListener(...args);
  }
  turn(hidden: boolean) {
    this.hidden = hidden;
    this.dispatchEvent(new Event("visibilitychange"));
  }
}

let tab: Tab;
const change = (run: string, kind: Change["kind"] = "rows"): Change => ({ version: 1, kind, project: "p", run, facts: {} });

beforeEach(() => {
  vi.useFakeTimers();
  tab = new Tab();
  vi.stubGlobal("document", tab);
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

function looks(takes_ms = 0) {
  const seen: { at: number; rows: string[] | null; facts: string[] | null }[] = [];
  const began = performance.now();
  const gathered = new Gathered((rows, facts) => {
    seen.push({ at: performance.now() - began, rows: rows && [...rows], facts: facts && [...facts] });
    return new Promise((resolve) => setTimeout(resolve, takes_ms));
  });
  return { seen, gathered };
}

test("a burst of changes is one look, soon", async () => {
  const { seen, gathered } = looks();
  for (const run of ["a", "b", "a"]) gathered.add(change(run));
  gathered.add(change("c", "run"));
  gathered.add(change("d", "deleted"));
  await vi.advanceTimersByTimeAsync(100);
  expect(seen).toHaveLength(1);
  expect(seen[0]).toMatchObject({ rows: ["a", "b", "c"], facts: ["c", "d"] });
  expect(seen[0]!.at).toBeLessThan(100);
});

test("after a stream was lost any run may have changed", async () => {
  const { seen, gathered } = looks();
  gathered.add(change("", "all"));
  await vi.advanceTimersByTimeAsync(100);
  expect(seen[0]).toMatchObject({ rows: null, facts: null });
});

test("looks that take long are further apart, and never at the same time", async () => {
  for (const [takes, least, most] of [[0, 4, 6], [100, 1, 3], [5000, 0, 2]] as const) {
    const { seen, gathered } = looks(takes);
    for (let ms = 0; ms < 1000; ms += 50) {
      gathered.add(change("a"));
      await vi.advanceTimersByTimeAsync(50);
    }
    expect(seen.length).toBeGreaterThan(least);
    expect(seen.length).toBeLessThan(most);
    gathered.stop();
  }
});

test("while nobody looks there is no look, and one when somebody does", async () => {
  const { seen, gathered } = looks();
  tab.turn(true);
  for (let n = 0; n < 50; n++) {
    gathered.add(change(`${n}`));
    await vi.advanceTimersByTimeAsync(100);
  }
  expect(seen).toHaveLength(0);
  expect(tab.listening).toBe(1);
  tab.turn(false);
  await vi.advanceTimersByTimeAsync(100);
  expect(seen).toHaveLength(1);
  expect(seen[0]!.rows).toHaveLength(50);
  gathered.stop();
  expect(tab.listening).toBe(0);
  gathered.add(change("a"));
  await vi.advanceTimersByTimeAsync(5000);
  expect(seen).toHaveLength(1);
});
