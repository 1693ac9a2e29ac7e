/** The groups of a project, made by the server of all runs that pass the filter; those that are unfolded show their runs below them.
 *
 * The table is one list of lines: a group, then its runs when it is unfolded. Only what is in sight is asked for.
 */

import { SvelteMap } from "svelte/reactivity";
import { api } from "../api/client";
import type { Run, RunGroup } from "../api/model";
import { FIELDS, groupText } from "./columns";
import { Pages } from "./pages.svelte";
import { type KnownRuns, type Question, sortOf } from "./runs.svelte";

/** Runs of a group: the server's name for it, the value that they share as people read it, how many they are, and their figures. */
export interface Group {
  key: string;
  label: string;
  runs: number;
  columns: RunGroup["columns"];
}

export type Line = { group: Group } | { run: Run };

const PAGE = 100;

export class Groups {
  readonly list: Pages<Group>;
  /** How many runs are in them. */
  runs = $state<number | null>(null);
  /** The first runs of the first groups. */
  firsts = $state.raw<readonly (readonly Run[])[]>([]);
  private readonly open = new SvelteMap<string, Pages<Run>>();
  private asked = 0;

  /** first: how many runs of how many groups are wanted at once, to be drawn. */
  constructor(
    private readonly project: string,
    private readonly question: () => Question,
    private readonly known: KnownRuns,
    private readonly first: number,
  ) {
    this.list = new Pages<Group>(PAGE, (offset, limit) => this.page(offset, limit));
  }

  /** The unfolded groups that are there, the upper first: where they stand among the groups, and how many runs follow. */
  private readonly unfolded = $derived.by(() => {
    const found: { at: number; count: number; pages: Pages<Run> }[] = [];
    if (this.open.size === 0) return found;
    for (const [at, group] of this.list.loaded()) {
      const pages = this.open.get(group.key);
      if (pages) found.push({ at, count: pages.total ?? group.runs, pages });
    }
    return found.sort((a, b) => a.at - b.at);
  });

  readonly length = $derived.by(() => this.unfolded.reduce((sum, one) => sum + one.count, this.list.total ?? 0));

  /** A line of the table; undefined while it is not there. */
  at(index: number): Line | undefined {
    let before = 0;
    for (const { at, count, pages } of this.unfolded) {
      const behind = index - before - at - 1;
      if (behind < 0) break;
      if (behind < count) {
        const run = pages.at(behind);
        return run && { run };
      }
      before += count;
    }
    const group = this.list.at(index - before);
    return group && { group };
  }

  /** See to it that these lines are there, and new. */
  need(first: number, last: number): void {
    let before = 0;
    let [from, to] = [first, last];
    for (const { at, count, pages } of this.unfolded) {
      const begin = before + at + 1;
      if (first < begin + count && last >= begin) pages.need(Math.max(0, first - begin), Math.min(count - 1, last - begin));
      if (first >= begin) from = first - Math.min(count, first - begin + 1) - before;
      if (last >= begin) to = last - Math.min(count, last - begin + 1) - before;
      before += count;
    }
    this.list.need(Math.max(0, from), Math.max(0, to));
  }

  isOpen(key: string): boolean {
    return this.open.has(key);
  }

  fold(key: string): void {
    if (this.open.delete(key)) return;
    const pages = this.known.list(key);
    this.open.set(key, pages);
    void pages.reload();
  }

  async reload(): Promise<void> {
    for (const pages of this.open.values()) void pages.reload();
    await Promise.all([this.list.reload(), this.draw()]);
  }

  async refresh(drawn: boolean): Promise<void> {
    await Promise.all([this.list.refresh(), ...[...this.open.values()].map((pages) => pages.refresh()), ...(drawn ? [this.draw()] : [])]);
  }

  /** Another column: what was unfolded is no more. */
  clear(): void {
    this.open.clear();
    this.firsts = [];
  }

  stop(): void {
    this.list.stop();
    for (const pages of this.open.values()) pages.stop();
  }

  private async page(offset: number, limit: number) {
    const { filter, columns, by } = this.question();
    const answer = await api.groups(this.project, { by: by!, filter, columns: [...FIELDS, ...columns], offset, limit });
    return () => {
      this.runs = answer.runs;
      for (const field of FIELDS) if (answer.groups.some(({ columns }) => columns[field]!.count > 0 || told(columns[field]!.shared))) this.known.filled.add(field);
      const items = answer.groups.map((group): Group => ({ key: group.key, label: groupText(group.by[by!]), runs: group.runs, columns: group.columns }));
      return { total: answer.total, items };
    };
  }

  /** The runs that are drawn while nobody has chosen. */
  private async draw(): Promise<void> {
    const { filter, sort, columns, by } = this.question();
    const asked = ++this.asked;
    const { sort: run_sort, order: run_order } = sortOf(sort);
    try {
      const answer = await api.groups(this.project, { by: by!, filter, columns, limit: this.first, first: this.first, run_sort, run_order });
      if (asked === this.asked) this.firsts = answer.groups.map((group) => this.known.learnAll(group.first, by));
    } catch {
      // the list says what is wrong, and is asked again
    }
  }
}

function told(value: unknown): boolean {
  return value !== null && value !== "" && !(Array.isArray(value) && value.length === 0);
}
