/** The points of one chart: asked for when it comes near, again when something else is wanted, and followed while runs log.
 *
 * Made while a component begins; it ends with it.
 */

import { untrack } from "svelte";
import type { Failure } from "../api/client";
import { follow, load, type Loaded, type Wanted } from "./data";

const AGAIN_MS = 3000;

export interface Ask {
  /** whether the chart is in sight, or soon will be */
  near: () => boolean;
  wanted: () => Wanted;
  /** whether rows that were taken back are wanted, too */
  rewound: () => boolean;
  onRows: (listener: (changed: ReadonlySet<string>) => Promise<void>) => () => void;
}

export class ChartPoints {
  loaded = $state.raw<Loaded | null>(null);
  /** What resumed runs took back, where it is wanted. */
  taken = $state.raw<Loaded | null>(null);
  error = $state<Failure | null>(null);
  private tries = $state(0);
  /** what `loaded` is the answer to */
  private loadedFor = "";
  /** runs that have more rows than `loaded` knows */
  private dirty = new Set<string>();
  private busy = false;
  private gone = false;

  /** A watermark begins with how often rows were taken back: when that changes, there is more of them. */
  private readonly cuts = $derived(Object.values(this.loaded?.watermarks ?? {}).map((mark) => mark.split(";")[0]).join());

  constructor(private readonly ask: Ask) {
    $effect(() => this.begin());
    $effect(() => this.takenBack());
    $effect(() => ask.onRows((changed) => this.grown(changed)));
    $effect(() => () => (this.gone = true));
  }

  private begin(): (() => void) | undefined {
    if (!this.ask.near()) return;
    const wanted = this.ask.wanted();
    const key = JSON.stringify(wanted);
    if (key === this.loadedFor) {
      void untrack(() => this.update());
      return;
    }
    if (wanted.runs.length === 0) {
      this.loaded = null;
      this.loadedFor = key;
      return;
    }
    void this.tries;
    // Scrolled away before its turn came: the next chart has it.
    const abort = new AbortController();
    let again: ReturnType<typeof setTimeout> | undefined;
    load(wanted, abort.signal).then(
      (answer) => {
        if (abort.signal.aborted) return;
        this.loaded = answer;
        this.loadedFor = key;
        this.error = null;
        void this.update();
      },
      (failure: Failure) => {
        if (abort.signal.aborted) return;
        this.error = failure;
        if (failure.passing) again = setTimeout(() => this.tries++, AGAIN_MS);
      },
    );
    return () => {
      abort.abort();
      clearTimeout(again);
    };
  }

  private takenBack(): (() => void) | undefined {
    const some = /[1-9]/.test(this.cuts);
    if (!this.ask.near()) return;
    if (!some || !this.ask.rewound()) {
      this.taken = null;
      return;
    }
    const abort = new AbortController();
    load({ ...this.ask.wanted(), rewound: true }, abort.signal).then(
      (answer) => {
        if (!abort.signal.aborted) this.taken = answer;
      },
      () => undefined, // what counts is drawn without it
    );
    return () => abort.abort();
  }

  private grown(changed: ReadonlySet<string>): Promise<void> {
    for (const run of this.ask.wanted().runs) if (changed.has(run)) this.dirty.add(run);
    return this.update();
  }

  /** Ask for what came since, when there may be something that is seen. */
  private async update(): Promise<void> {
    const wanted = this.ask.wanted();
    const key = JSON.stringify(wanted);
    if (this.gone || this.busy || !this.dirty.size || !this.ask.near() || !this.loaded || key !== this.loadedFor || !this.seesEnd(wanted)) return;
    this.busy = true;
    const changed = [...this.dirty].filter((run) => wanted.runs.includes(run));
    this.dirty = new Set();
    try {
      const answer = changed.length ? await follow(this.loaded, wanted, changed) : this.loaded;
      if (key === this.loadedFor && key === JSON.stringify(this.ask.wanted())) this.loaded = answer;
      this.busy = false;
      void this.update(); // rows may have come meanwhile
    } catch {
      this.busy = false;
      for (const run of changed) this.dirty.add(run);
      setTimeout(() => void this.update(), AGAIN_MS);
    }
  }

  /** A zoomed picture changes only when new points may fall into it. */
  private seesEnd({ range }: Wanted): boolean {
    if (!range) return true;
    for (const one of this.loaded?.series.values() ?? []) if (one.x.length && one.x[one.x.length - 1]! >= range[1]) return false;
    return true;
  }
}
