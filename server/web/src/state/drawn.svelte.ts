/** Which runs are drawn: those that the address names; else the pinned ones, and the first of the table or of each group. */

import type { Run } from "../api/model";
import { say } from "../ui/toasts.svelte";
import { place } from "./place.svelte";

/** Runs that are drawn when nobody has chosen: all would be slow and say little. */
export const SHOWN_FIRST = 10;
export const SHOWN_MOST = 100;

export class DrawnRuns {
  private readonly explicit = $derived(place.get("show"));
  readonly pinned = $derived((place.get("pin") ?? "").split(",").filter(Boolean));
  /** As text: a table that was read anew and draws the same runs is no change. */
  private readonly text = $derived.by(() => JSON.stringify(this.fixed ?? this.chosen() ?? this.first()));
  readonly ids = $derived(JSON.parse(this.text) as string[]);
  readonly set: ReadonlySet<string> = $derived(new Set(this.ids));

  /** fixed: the runs of a screen that is about these and no others.
   * lists: whose first runs are drawn when nobody has chosen, the table or its groups.
   * changed: called when the viewer has chosen.
   */
  constructor(
    private readonly fixed: readonly string[] | null,
    private readonly lists: () => readonly (readonly Run[])[],
    private readonly changed: () => void,
  ) {}

  private chosen(): string[] | null {
    if (!this.explicit) return null;
    return this.explicit === "-" ? [] : this.explicit.split(",").slice(0, SHOWN_MOST);
  }

  private first(): string[] {
    const found = new Set(this.pinned);
    const lists = this.lists().slice(0, SHOWN_FIRST);
    for (const run of lists.flatMap((list) => list.slice(0, SHOWN_FIRST))) if (found.size < SHOWN_FIRST * lists.length) found.add(run.id);
    return [...found].slice(0, SHOWN_MOST);
  }

  toggle(id: string): void {
    this.show(this.set.has(id) ? this.ids.filter((each) => each !== id) : [...this.ids, id]);
  }

  /** Whether the viewer has chosen. */
  get isChosen(): boolean {
    return !!this.fixed || this.explicit !== null;
  }

  show(ids: readonly string[]): void {
    if (ids.length > SHOWN_MOST) say(`At most ${SHOWN_MOST} runs are drawn at once`);
    place.set({ show: ids.length ? ids.slice(0, SHOWN_MOST).join(",") : "-" });
    this.changed();
  }

  only(id: string): void {
    this.show([id]);
  }

  /** As when nobody had chosen. */
  reset(): void {
    place.set({ show: null });
  }

  pin(id: string): void {
    const pinned = this.pinned.includes(id) ? this.pinned.filter((each) => each !== id) : [...this.pinned, id];
    place.set({ pin: pinned.join(",") });
  }
}
