/** Changes of a project, gathered: a burst of them is one look, and while nobody looks there is none.
 *
 * The first change after a rest is looked at soon. Then looks follow each other the faster the quicker they are: where the server
 * answers at once a point is seen at once, and a slow one is not asked without a pause.
 */

import type { Change } from "./live.svelte";

/** What arrives together is taken together. */
const SOON_MS = 40;
const LEAST_MS = 200;
const MOST_MS = 1000;
/** Of the time between two looks so many parts are rest for one that is work. */
const REST = 5;

export class Gathered {
  private readonly rows = new Set<string>();
  private readonly facts = new Set<string>();
  private everything = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private earliest = 0;
  private looking = false;
  private stopped = false;
  private readonly shown = () => this.plan();

  /** look: what to do with the runs that have new rows, and with those of which something else changed; null: any of them may have. */
  constructor(private readonly look: (rows: ReadonlySet<string> | null, facts: ReadonlySet<string> | null) => Promise<unknown>) {
    document.addEventListener("visibilitychange", this.shown);
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
    document.removeEventListener("visibilitychange", this.shown);
  }

  add(change: Change): void {
    if (change.kind === "all") this.everything = true;
    if (change.kind !== "deleted") this.rows.add(change.run);
    if (change.kind !== "rows") this.facts.add(change.run);
    this.plan();
  }

  private plan(): void {
    const some = this.everything || this.rows.size > 0 || this.facts.size > 0;
    if (!some || document.hidden || this.looking || this.stopped) return;
    this.timer ??= setTimeout(() => void this.go(), Math.max(SOON_MS, this.earliest - performance.now()));
  }

  private async go(): Promise<void> {
    this.timer = undefined;
    if (document.hidden) return; // the next one who looks
    const [rows, facts] = this.everything ? [null, null] : [new Set(this.rows), new Set(this.facts)];
    this.everything = false;
    this.rows.clear();
    this.facts.clear();
    const began = performance.now();
    this.looking = true;
    await within(MOST_MS, this.look(rows, facts));
    this.looking = false;
    const now = performance.now();
    this.earliest = now + Math.min(MOST_MS, Math.max(LEAST_MS, REST * (now - began)));
    this.plan();
  }
}

/** Wait for work to end, well or badly, but not for longer. */
function within(ms: number, work: Promise<unknown>): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    const ended = () => (clearTimeout(timer), resolve());
    work.then(ended, ended);
  });
}
