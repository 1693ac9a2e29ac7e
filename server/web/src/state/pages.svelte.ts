/** A long list of the server, in pages that come as they are scrolled to.
 *
 * A page is a state of its own: one that arrives changes its rows and no others. What stands there stays until its answer comes,
 * and an answer of an older question is thrown away.
 */

import { untrack } from "svelte";
import { SvelteMap } from "svelte/reactivity";
import type { Failure } from "../api/client";

/** Pages that are asked for at the same time. Who scrolls past a page before its turn never asks for it. */
const AT_ONCE = 2;
const AGAIN_MS = 2000;

export interface Answer<T> {
  /** how many there are in all */
  total: number;
  items: readonly T[];
}

export class Pages<T> {
  /** null before the first answer. */
  total = $state<number | null>(null);
  error = $state<Failure | null>(null);
  private readonly pages = new SvelteMap<number, readonly T[]>();
  /** counts the answers that began the list anew */
  private begun = $state(0);
  private generation = 0;
  private beginning = false;
  /** Whether the question was refused: it will be again, until it is another one. */
  private refused = false;
  private sight: [number, number] = [0, 0];
  /** pages that are as they were when something last changed */
  private readonly fresh = new Set<number>();
  private running = new Set<number>();

  /** ask: for so many from a place on; what it gives takes the answer in, and is not called when the question is another one by then.
   * anew: called when the first answer of a new question has come, before it is taken in.
   */
  constructor(
    private readonly size: number,
    private readonly ask: (offset: number, limit: number) => Promise<() => Answer<T>>,
    private readonly anew: () => void = () => undefined,
  ) {}

  /** undefined while its page is not there. */
  at(index: number): T | undefined {
    return this.pages.get(Math.floor(index / this.size))?.[index % this.size];
  }

  /** The first page. */
  get start(): readonly T[] {
    return this.pages.get(0) ?? [];
  }

  /** What is there, with its place. */
  *loaded(): IterableIterator<[number, T]> {
    for (const [page, items] of this.pages) for (const [i, item] of items.entries()) yield [page * this.size + i, item];
  }

  /** See to it that these are there, and new. */
  need(first: number, last: number): void {
    void this.begun;
    if (this.total === null) return;
    this.sight = [Math.floor(first / this.size), Math.floor(Math.min(last, this.total - 1) / this.size)];
    untrack(() => this.next());
  }

  /** Begin anew: the question has changed. What is there stays until the answer comes. */
  reload(): Promise<void> {
    this.generation++;
    this.beginning = true;
    this.refused = false;
    this.fresh.clear();
    this.running = new Set();
    return this.load(0, true);
  }

  /** Nobody is there any more who would see an answer. */
  stop(): void {
    this.generation++;
  }

  /** Something changed: ask again for what is in sight, without a blink, and for the others when they are scrolled to. */
  refresh(): Promise<void> {
    this.fresh.clear(); // an answer that is under way may be of before the change
    if (this.refused) return Promise.resolve();
    const asking = this.beginning && this.running.size > 0;
    // What was not there may be there now. Who is being answered is not interrupted, or a slow answer would never come.
    if ((this.beginning || this.total === null) && !asking) return this.reload();
    return this.next();
  }

  /** The first page is always as new as those in sight: other parts of the screen show it, too. */
  private async next(): Promise<void> {
    if (this.beginning) return; // rows of the new list do not belong among those of the old one
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
    const { generation, running, size } = this;
    running.add(page);
    this.fresh.add(page);
    let rest = 0;
    try {
      const take = await this.ask(page * size, size);
      if (generation !== this.generation) return;
      this.error = null;
      if (anew) this.begin();
      const answer = take();
      this.total = answer.total;
      this.pages.set(page, answer.items);
      for (const each of [...this.pages.keys()]) if (each > 0 && each * size >= answer.total) this.pages.delete(each);
    } catch (error) {
      if (generation !== this.generation) return;
      const failure = (this.error = error as Failure);
      this.refused = anew && (failure.status === 400 || failure.status === 422);
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

  private begin(): void {
    this.anew();
    this.pages.clear();
    this.beginning = false;
    this.sight = [0, 0];
    this.begun++;
  }
}
