/** Which colour each run and each group of a project has. A run keeps its own while this tab is open, whatever is shown beside it. */

import { assign, colour, dash } from "../colours";
import { preferences, store, stored } from "./preferences.svelte";

const GIVEN_MOST = 1000;

export class RunColours {
  private chosen = $state.raw<ReadonlyMap<string, number>>(new Map());
  private readonly given: Map<string, number>;

  /** project: what is kept in the browser stands under its name.
   * drawn: the ids of the runs that are drawn, the oldest first; null while their age is not known.
   * groups: their values, in order.
   * decides: whether the runs that are drawn are given colours to keep. A screen about a few runs, or about groups, gives none.
   */
  constructor(
    private readonly project: string,
    private readonly drawn: () => { ids: readonly string[]; settled: boolean },
    private readonly groups: () => readonly string[],
    private readonly decides: () => boolean,
  ) {
    this.chosen = new Map(Object.entries(stored<Record<string, number>>(`colours.${project}`, {})));
    this.given = new Map(Object.entries(stored<Record<string, number>>(`given.${project}`, {}, "session")));
  }

  private readonly slots = $derived.by(() => {
    const { ids, settled } = this.drawn();
    const slots = assign(ids, this.given, this.chosen);
    if (settled && this.decides()) this.remember(slots);
    return slots;
  });
  private readonly groupSlots = $derived.by(() => assign(this.groups()));

  /** The place of a run's colour among all colours. */
  slot(id: string): number {
    return this.slots.get(id) ?? this.chosen.get(id) ?? 0;
  }

  of(id: string, alpha = 1): string {
    return colour(this.slot(id), preferences.theme, alpha);
  }

  dash(id: string): readonly number[] {
    return dash(this.slot(id));
  }

  /** The colour of a group, which all its runs share. */
  ofGroup(value: string, alpha = 1): string {
    return colour(this.groupSlots.get(value) ?? 0, preferences.theme, alpha);
  }

  /** Choose a colour for a run, for good; null: no longer. */
  choose(id: string, slot: number | null): void {
    const map = new Map(this.chosen);
    if (slot === null) map.delete(id);
    else map.set(id, slot);
    this.chosen = map;
    store(`colours.${this.project}`, Object.fromEntries(map));
  }

  /** Colours outlive a reload, and a run has on its own page the one that it had among the others. */
  private remember(slots: ReadonlyMap<string, number>): void {
    let changed = false;
    for (const [id, slot] of slots) {
      if (this.given.get(id) === slot || this.chosen.has(id)) continue;
      this.given.delete(id);
      this.given.set(id, slot);
      changed = true;
    }
    if (changed) store(`given.${this.project}`, Object.fromEntries([...this.given].slice(-GIVEN_MOST)), "session");
  }
}
