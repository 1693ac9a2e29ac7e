/** The runs of a project as the server filters and sorts them, in pages that come as they are scrolled to.
 *
 * A page is a state of its own: one that arrives changes its rows and no others. A run that is as it was stays the same object, so
 * that what shows it is not made anew. Nothing here reads a point of a run.
 */

import { untrack } from "svelte";
import { SvelteMap, SvelteSet } from "svelte/reactivity";
import { api, type Failure } from "../api/client";
import type { Run } from "../api/model";
import { FIELDS, isFilled } from "./columns";

const PAGE = 100;
/** Groups are made of whole projects, up to here. */
const WHOLE = 5000;
/** Pages that are asked for at the same time. Who scrolls past a page before its turn never asks for it. */
const AT_ONCE = 2;
const AGAIN_MS = 2000;

/** What is asked of the server. whole: all runs as one page. */
export interface Question {
  filter: string | null;
  /** with a "-" before it: the greatest first */
  sort: string;
  columns: readonly string[];
  whole: boolean;
}

/** What charts need of a run. The rest of it changes with every row that it logs, this does not. */
export interface Label {
  name: string;
  created: number;
}

export class RunPages {
  /** How many runs pass the filter; null before the first answer. */
  total = $state<number | null>(null);
  error = $state<Failure | null>(null);
  /** why the filter cannot be read */
  filterError = $state<string | null>(null);
  /** Every run seen, by id. */
  readonly known = new SvelteMap<string, Run>();
  readonly labels = new SvelteMap<string, Label>();
  /** Those of `FIELDS` that a run of the table has. */
  readonly filled = new SvelteSet<string>();
  private readonly pages = new SvelteMap<number, readonly Run[]>();
  private size = PAGE;
  /** Whether the first page is all that there is of the table. */
  whole = $state(false);
  /** counts the answers that began the table anew */
  private begun = $state(0);
  private generation = 0;
  private beginning = false;
  private sight: [number, number] = [0, 0];
  /** pages that are as they were when something last changed */
  private readonly fresh = new Set<number>();
  private running = new Set<number>();

  constructor(
    private readonly project: string,
    private readonly question: () => Question,
  ) {}

  /** A row of the table; undefined while its page is not there. */
  at(index: number): Run | undefined {
    return this.pages.get(Math.floor(index / this.size))?.[index % this.size];
  }

  /** The first page; all runs where the question was for the whole, or as many as are taken for it. */
  get start(): readonly Run[] {
    return this.pages.get(0) ?? [];
  }

  /** See to it that these rows are there, and new. */
  need(first: number, last: number): void {
    void this.begun;
    if (this.total === null) return;
    this.sight = [Math.floor(first / this.size), Math.floor(Math.min(last, this.total - 1) / this.size)];
    untrack(() => this.next());
  }

  /** Begin anew: the filter, the order or the columns have changed. What is there stays until the answer comes. */
  reload(): Promise<void> {
    this.generation++;
    this.beginning = true;
    this.fresh.clear();
    this.running = new Set();
    return this.load(0, true);
  }

  /** Nobody is there any more who would see an answer. */
  stop(): void {
    this.generation++;
  }

  /** Something changed: ask again for the rows in sight, without a blink, and for the others when they are scrolled to. */
  refresh(): Promise<void> {
    this.fresh.clear(); // an answer that is under way may be of before the change
    const asking = this.beginning && this.running.size > 0;
    // What was not there may be there now. Who is being answered is not interrupted, or a slow answer would never come.
    if ((this.beginning || this.total === null) && !asking) return this.reload();
    return this.next();
  }

  /** The first page says which runs are drawn, so it is as new as those in sight. */
  private async next(): Promise<void> {
    if (this.beginning) return; // rows of the new table do not belong among those of the old one
    const [first, last] = this.sight;
    const pages = [0, ...Array.from({ length: Math.max(0, last - first + 1) }, (_, n) => first + n)];
    const asked: Promise<void>[] = [];
    for (const page of pages) {
      if (this.running.size >= AT_ONCE) break;
      if (!this.fresh.has(page) && !this.running.has(page)) asked.push(this.load(page));
    }
    await Promise.all(asked);
  }

  private async load(page: number, anew = false): Promise<void> {
    const { generation, running } = this;
    const { filter, sort, columns, whole } = this.question();
    const size = whole ? WHOLE : PAGE;
    running.add(page);
    this.fresh.add(page);
    let rest = 0;
    try {
      const order = sort.startsWith("-") ? "desc" : "asc";
      const answer = await api.runs(this.project, { filter, sort: sort.replace(/^-/, ""), order, offset: page * size, limit: size, columns });
      if (generation !== this.generation) return;
      this.error = this.filterError = null;
      if (anew) this.begin(size);
      this.total = answer.total;
      this.pages.set(page, answer.runs.map((run) => this.learn(run)));
      for (const each of [...this.pages.keys()]) if (each > 0 && each * size >= answer.total) this.pages.delete(each);
      for (const field of FIELDS) if (!this.filled.has(field) && answer.runs.some((run) => isFilled(run, field))) this.filled.add(field);
    } catch (error) {
      if (generation !== this.generation) return;
      const failure = error as Failure;
      if (failure.status === 400 && filter) this.filterError = failure.detail || failure.title;
      else this.error = failure;
      if (failure.passing) rest = AGAIN_MS;
    }
    setTimeout(() => {
      running.delete(page);
      if (generation !== this.generation) return;
      if (rest && anew) void this.load(page, true);
      else {
        if (rest) this.fresh.delete(page);
        void this.next();
      }
    }, rest);
  }

  private begin(size: number): void {
    this.size = size;
    this.whole = size === WHOLE;
    this.pages.clear();
    this.filled.clear();
    this.beginning = false;
    this.sight = [0, 0];
    this.begun++;
  }

  /** Take a run in; as it is known already when nothing of it changed. */
  learn(run: Run): Run {
    const old = this.known.get(run.id);
    if (old && JSON.stringify(old) === JSON.stringify(run)) return old;
    this.known.set(run.id, run);
    const label = this.labels.get(run.id);
    if (label?.name !== run.name || label.created !== run.created) this.labels.set(run.id, { name: run.name, created: run.created });
    return run;
  }

  /** Ask for runs that do not stand in the loaded part of the table. */
  async find(ids: readonly string[]): Promise<void> {
    const absent = ids.filter((id) => !this.known.has(id));
    if (absent.length === 0) return;
    try {
      const filter = `id in [${absent.map((id) => JSON.stringify(id)).join(", ")}]`;
      const answer = await api.runs(this.project, { filter, limit: absent.length, columns: this.question().columns });
      for (const run of answer.runs) this.learn(run);
    } catch {
      // they stay nameless until the next answer
    }
  }
}
