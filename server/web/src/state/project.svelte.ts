/** One project as its screen shows it: which runs there are, which of them are drawn, in which colours, and their keys.
 *
 * Runs come in pages as the table is scrolled; nothing here reads a point of a run.
 */

import { api, Failure } from "../api/client";
import type { Key, Run } from "../api/model";
import { assign, colour, dash } from "../colours";
import { connection, type Change } from "./live.svelte";
import { place } from "./place.svelte";
import { preferences, store, stored } from "./preferences.svelte";
import { effectiveFilter } from "../filter/language";
import { byValue } from "../sections";
import { text } from "../format";

const PAGE = 100;
/** Runs that are drawn when nobody has chosen: all would be slow and say little. */
export const SHOWN_FIRST = 10;
const SHOWN_MOST = 100;

export interface Group {
  /** the value that its runs share, as text */
  value: string;
  runs: Run[];
}

/** A line of the table. */
export type Item = { group: Group } | { run: Run | undefined };

const GROUPED_MOST = 5000;
const GIVEN_MOST = 1000;

export class ProjectState {
  readonly name: string;
  total = $state<number | null>(null);
  /** The filtered and sorted table; holes are rows that were not loaded yet. */
  rows = $state.raw<(Run | undefined)[]>([]);
  /** Every run seen, by id. */
  known = $state.raw<Map<string, Run>>(new Map());
  keys = $state.raw<Key[]>([]);
  keysLoaded = $state(false);
  error = $state<Failure | null>(null);
  filterError = $state<string | null>(null);
  /** Runs ticked for a change of many at once. */
  checked = $state.raw<ReadonlySet<string>>(new Set());
  hovered = $state<string | null>(null);
  private chosenColours = $state.raw<ReadonlyMap<string, number>>(new Map());
  private readonly given: Map<string, number>;
  private generation = 0;
  private asked = 0;
  private flushed = 0;
  private pages = new Set<number>();
  private listeners = new Set<(runs: ReadonlySet<string>) => void>();
  private readonly changed = new Set<string>();
  private readonly tables = new Set<string>();
  private timer: ReturnType<typeof setTimeout> | undefined;

  readonly filter = $derived(place.get("q") ?? "");
  readonly sort = $derived(place.get("sort") ?? "-created");
  readonly columns = $derived(place.get("cols")?.split(",").filter(Boolean).map(decodeColumn) ?? null);
  /** What the project's runs could be told apart by, until somebody chooses columns. */
  private suggested = $state.raw<string[]>([]);
  readonly tableColumns = $derived(this.columns ?? this.suggested);
  readonly group = $derived.by(() => (this.fixed ? null : place.get("group")));
  readonly pinned = $derived((place.get("pin") ?? "").split(",").filter(Boolean));
  /** Groups that are folded open in the table. */
  unfolded = $state.raw<ReadonlySet<string>>(new Set());
  private readonly explicit = $derived(place.get("show"));

  readonly groups = $derived.by<Group[]>(() => {
    const by = this.group;
    if (!by) return [];
    const found = new Map<string, Run[]>();
    for (const run of this.rows) {
      if (!run) continue;
      const value = groupValue(run, by);
      const list = found.get(value);
      if (list) list.push(run);
      else found.set(value, [run]);
    }
    return [...found].map(([value, runs]) => ({ value, runs })).sort((a, b) => byValue(a.value, b.value));
  });

  /** The lines of the table, with groups between them when there are any. */
  readonly items = $derived.by<Item[] | null>(() => {
    if (!this.group) return null;
    return this.groups.flatMap((group) => [{ group }, ...(this.unfolded.has(group.value) ? group.runs.map((run) => ({ run })) : [])]);
  });
  readonly length = $derived(this.items?.length ?? this.rows.length);

  /** Ids of the runs that are drawn. */
  readonly shown = $derived.by<string[]>(() => {
    if (this.fixed) return this.fixed;
    if (this.explicit) return this.explicit === "-" ? [] : this.explicit.split(",").slice(0, SHOWN_MOST);
    const first: string[] = [...this.pinned];
    if (this.group) {
      for (const group of this.groups.slice(0, SHOWN_FIRST)) {
        for (const run of group.runs.slice(0, 10)) if (!first.includes(run.id)) first.push(run.id);
      }
      return first.slice(0, SHOWN_MOST);
    }
    for (const run of this.rows) {
      if (first.length >= SHOWN_FIRST) break;
      if (run && !first.includes(run.id)) first.push(run.id);
    }
    return first;
  });
  readonly shownSet = $derived(new Set(this.shown));

  private readonly slots = $derived.by(() => {
    const created = (id: string) => this.known.get(id)?.created ?? 0;
    const oldestFirst = [...this.shown].sort((a, b) => created(a) - created(b) || (a < b ? -1 : 1));
    // What was drawn before keeps its colour while this tab is open, whatever is shown or hidden beside it.
    const slots = assign(oldestFirst, this.given, this.chosenColours);
    this.remember(slots);
    return slots;
  });

  /** fixed: the runs of a screen that is about these and no others. */
  constructor(
    name: string,
    private readonly fixed: string[] | null = null,
  ) {
    this.name = name;
    this.chosenColours = new Map(Object.entries(stored<Record<string, number>>(`colours.${name}`, {})));
    this.given = new Map(Object.entries(stored<Record<string, number>>(`given.${name}`, {}, "session")));
  }

  /** Colours outlive a reload, and a run has on its own page the one that it had among the others. */
  private remember(slots: ReadonlyMap<string, number>): void {
    // What is about a few runs, or has a colour for a group of them, decides nothing; and the order of age is known with the runs.
    if (this.fixed || this.group || !this.shown.every((id) => this.known.has(id))) return;
    let changed = false;
    for (const [id, slot] of slots) {
      if (this.given.get(id) === slot || this.chosenColours.has(id)) continue;
      this.given.delete(id);
      this.given.set(id, slot);
      changed = true;
    }
    if (changed) store(`given.${this.name}`, Object.fromEntries([...this.given].slice(-GIVEN_MOST)), "session");
  }

  /** Begin to hear of changes; the returned function ends it. */
  listen(): () => void {
    const stop = connection.listen((change) => this.heard(change));
    return () => {
      stop();
      clearTimeout(this.timer);
    };
  }

  item(index: number): Item {
    return this.items?.[index] ?? { run: this.items ? undefined : this.rows[index] };
  }

  fold(value: string): void {
    const unfolded = new Set(this.unfolded);
    if (!unfolded.delete(value)) unfolded.add(value);
    this.unfolded = unfolded;
  }

  private readonly groupSlots = $derived(assign(this.groups.map((group) => group.value)));

  /** The colour of a group, which all its runs share in the charts. */
  groupColour(value: string, alpha = 1): string {
    return colour(this.groupSlots.get(value) ?? 0, preferences.theme, alpha);
  }

  slot(id: string): number {
    return this.slots.get(id) ?? this.chosenColours.get(id) ?? 0;
  }

  colour(id: string, alpha = 1): string {
    return colour(this.slot(id), preferences.theme, alpha);
  }

  dash(id: string): readonly number[] {
    return dash(this.slot(id));
  }

  setColour(id: string, slot: number | null): void {
    const map = new Map(this.chosenColours);
    if (slot === null) map.delete(id);
    else map.set(id, slot);
    this.chosenColours = map;
    store(`colours.${this.name}`, Object.fromEntries(map));
  }

  label(id: string): string {
    return this.known.get(id)?.name ?? id;
  }

  path(id: string): string {
    return `${this.name}/${id}`;
  }

  /** The runs of a screen that is about a few of them. */
  learn(runs: readonly Run[]): void {
    const known = new Map(this.known);
    for (const run of runs) known.set(run.id, run);
    this.known = known;
    this.total = runs.length;
  }

  // The table

  /** Forget the rows and begin anew: the filter, the order or the columns have changed. */
  reload(): Promise<void> {
    this.generation++;
    this.pages.clear();
    return this.page(0, true);
  }

  /** See to it that these rows get loaded. */
  need(first: number, last: number): void {
    if (this.group || this.total === null) return;
    last = Math.min(last, this.total - 1);
    for (let page = Math.floor(first / PAGE); page <= Math.floor(last / PAGE); page++) void this.page(page);
  }

  private async page(page: number, fresh = false): Promise<void> {
    if (this.pages.has(page)) return;
    this.pages.add(page);
    const generation = this.generation;
    try {
      const answer = await api.runs(this.name, {
        filter: effectiveFilter(this.filter),
        sort: this.sort.replace(/^-/, ""),
        order: this.sort.startsWith("-") ? "desc" : "asc",
        offset: page * PAGE,
        limit: this.group ? GROUPED_MOST : PAGE,
        columns: this.wantedColumns(),
      });
      if (generation !== this.generation) return;
      this.error = null;
      this.filterError = null;
      const rows = fresh ? [] : this.rows.slice(0, answer.total);
      rows.length = answer.total;
      const known = new Map(this.known);
      answer.runs.forEach((run, i) => {
        rows[page * PAGE + i] = run;
        known.set(run.id, run);
      });
      this.known = known;
      this.rows = rows;
      this.total = answer.total;
      void this.missing();
    } catch (error) {
      if (generation !== this.generation) return;
      this.pages.delete(page);
      const failure = error as Failure;
      if (failure.status === 400 && this.filter) this.filterError = failure.detail || failure.title;
      else this.error = failure;
      if (failure.passing) setTimeout(() => generation === this.generation && void this.page(page, fresh), 2000);
    }
  }

  private wantedColumns(): string[] {
    const wanted = new Set(this.tableColumns);
    if (this.group) wanted.add(this.group);
    return [...wanted].filter((name) => name.startsWith("config.") || name.startsWith("summary."));
  }

  /** Runs that are drawn but do not stand in the loaded part of the table: asked for one by one. */
  private async missing(): Promise<void> {
    const absent = [...new Set([...this.shown, ...this.pinned])].filter((id) => !this.known.has(id));
    if (absent.length === 0) return;
    try {
      const list = absent.map((id) => JSON.stringify(id)).join(", ");
      const answer = await api.runs(this.name, { filter: `id in [${list}]`, limit: SHOWN_MOST, columns: this.wantedColumns() });
      const known = new Map(this.known);
      for (const run of answer.runs) known.set(run.id, run);
      this.known = known;
    } catch {
      // they stay nameless until the next answer
    }
  }

  async suggestColumns(): Promise<void> {
    try {
      const found = (await api.columns(this.name, "", 200)).filter((column) => column.kind !== "other");
      const some = (prefix: string, most: number) => found.filter((column) => column.name.startsWith(prefix)).slice(0, most);
      this.suggested = [...some("config.", 5), ...some("summary.", 6)].map((column) => column.name);
    } catch {
      // the table then has the fields of runs only
    }
  }

  // Keys

  async loadKeys(): Promise<void> {
    const shown = this.shown;
    const asked = ++this.asked;
    if (shown.length === 0) {
      this.keys = [];
      this.keysLoaded = this.total !== null;
      return;
    }
    try {
      const found = await api.keys(this.name, shown);
      if (asked !== this.asked) return;
      const fresh = found.filter((key) => !key.key.startsWith("_")).map((key) => ({ name: key.key, kind: key.kind }));
      if (JSON.stringify(fresh) !== JSON.stringify(this.keys)) this.keys = fresh;
      this.keysLoaded = true;
    } catch (error) {
      const failure = error as Failure;
      if (failure.status !== 404) this.error = failure;
    }
  }

  // What is drawn

  toggle(id: string): void {
    this.show(this.shownSet.has(id) ? this.shown.filter((each) => each !== id) : [...this.shown, id]);
  }

  show(ids: readonly string[]): void {
    place.set({ show: ids.length ? ids.slice(0, SHOWN_MOST).join(",") : "-" });
    void this.missing();
  }

  showOnly(id: string): void {
    this.show([id]);
  }

  showFirst(): void {
    place.set({ show: null });
  }

  pin(id: string): void {
    const pinned = this.pinned.includes(id) ? this.pinned.filter((each) => each !== id) : [...this.pinned, id];
    place.set({ pin: pinned.join(",") });
  }

  check(id: string, on = !this.checked.has(id)): void {
    const checked = new Set(this.checked);
    if (on) checked.add(id);
    else checked.delete(id);
    this.checked = checked;
  }

  checkAll(ids: Iterable<string>): void {
    this.checked = new Set(ids);
  }

  // Changes

  /** Call back with the paths of runs that have new rows, at most once a second. */
  onRows(listener: (runs: ReadonlySet<string>) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private heard(change: Change): void {
    if (change.kind === "all") {
      this.tables.add("*");
      for (const id of this.shown) this.changed.add(this.path(id));
    } else {
      if (change.project !== this.name) return;
      if (change.kind !== "rows") this.tables.add(change.run);
      else if (this.tableColumns.some((name) => name.startsWith("summary.")) || this.sort.includes("summary.")) this.tables.add(change.run);
      if (change.kind === "rows" || change.kind === "run") this.changed.add(this.path(change.run));
    }
    // Soon after a quiet second, else once a second: a burst of changes is one look.
    this.timer ??= setTimeout(() => this.flush(), Math.max(100, 1000 - (performance.now() - this.flushed)));
  }

  private flush(): void {
    this.timer = undefined;
    this.flushed = performance.now();
    if (document.hidden) {
      // Nobody looks: once, when somebody does.
      document.addEventListener("visibilitychange", () => this.flush(), { once: true });
      return;
    }
    if (this.tables.size) {
      this.tables.clear();
      if (!this.fixed) void this.refresh();
    }
    const changed = new Set(this.changed);
    this.changed.clear();
    if ([...changed].some((path) => this.shownSet.has(path.slice(this.name.length + 1)))) {
      void this.loadKeys();
      for (const listener of this.listeners) listener(changed);
    }
  }

  /** Ask again for the rows that are loaded, without a blink. */
  private async refresh(): Promise<void> {
    if (this.total === null) return this.reload(); // what was not there may be there now
    const pages = [...this.pages];
    this.pages.clear();
    await Promise.all(pages.map((page) => this.page(page)));
  }
}

export function value(run: Run, column: string): unknown {
  if (column.startsWith("config.") || column.startsWith("summary.")) return run.columns?.[column];
  return (run as unknown as Record<string, unknown>)[column];
}

export function groupValue(run: Run, by: string): string {
  const found = value(run, by);
  if (found === undefined || found === null) return "(none)";
  if (typeof found === "number") return String(found); // as the server groups: what differs in the sixth digit is not the same
  return Array.isArray(found) ? found.join(", ") || "(none)" : text(found);
}

/** Commas part the columns of an address, so those within names are written as %2C. */
export function encodeColumn(name: string): string {
  return name.replaceAll("%", "%25").replaceAll(",", "%2C");
}

function decodeColumn(name: string): string {
  return name.replaceAll("%2C", ",").replaceAll("%25", "%");
}
