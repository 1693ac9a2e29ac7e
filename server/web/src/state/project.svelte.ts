/** One project as its screen shows it: what the address asks for, which runs are drawn, in which groups and colours, and their keys.
 *
 * The runs of the table are in `RunPages`, the choice of what is drawn in `DrawnRuns`, the colours in `RunColours`, and the pace at
 * which changes are looked at in `Gathered`.
 */

import { api, type Failure } from "../api/client";
import type { Key, Run } from "../api/model";
import { effectiveFilter } from "../filter/language";
import { byValue } from "../sections";
import { decodeColumn, groupValue } from "./columns";
import { DrawnRuns } from "./drawn.svelte";
import { Gathered } from "./gathered";
import { connection } from "./live.svelte";
import { place } from "./place.svelte";
import { RunColours } from "./runColours.svelte";
import { RunPages } from "./runs.svelte";

export interface Group {
  /** the value that its runs share, as text */
  value: string;
  runs: Run[];
}

type Listener = (runs: ReadonlySet<string>) => void | Promise<void>;

export class ProjectState {
  // What the address asks for

  readonly filter = $derived(place.get("q") ?? "");
  readonly sort = $derived(place.get("sort") ?? "-created");
  private readonly columnsText = $derived(place.get("cols"));
  readonly columns = $derived(this.columnsText?.split(",").filter(Boolean).map(decodeColumn) ?? null);
  readonly group = $derived.by(() => (this.fixed ? null : place.get("group")));

  // What is done on the screen and belongs to nobody else

  /** Runs ticked for a change of many at once. */
  checked = $state.raw<ReadonlySet<string>>(new Set());
  hovered = $state<string | null>(null);
  /** Groups that are folded open in the table. */
  unfolded = $state.raw<ReadonlySet<string>>(new Set());

  // The table

  /** What the project's runs could be told apart by, until somebody chooses columns. */
  private suggested = $state.raw<string[]>([]);
  readonly tableColumns = $derived(this.columns ?? this.suggested);
  readonly runs: RunPages;

  readonly groups = $derived.by<Group[]>(() => {
    const by = this.group;
    if (!by) return [];
    const found = new Map<string, Run[]>();
    for (const run of this.runs.start) {
      const value = groupValue(run, by);
      const list = found.get(value);
      if (list) list.push(run);
      else found.set(value, [run]);
    }
    return [...found].map(([value, runs]) => ({ value, runs })).sort((a, b) => byValue(a.value, b.value));
  });

  /** The lines of the table, with groups between them; null without groups, when they are the runs as the server sorts them. */
  readonly items = $derived.by<({ group: Group } | { run: Run })[] | null>(() => {
    if (!this.group) return null;
    return this.groups.flatMap((group) => [{ group }, ...(this.unfolded.has(group.value) ? group.runs.map((run) => ({ run })) : [])]);
  });
  readonly length = $derived.by(() => this.items?.length ?? this.runs.total ?? 0);
  /** How many runs pass the filter and are in no group, as groups are made of so many runs only. */
  readonly ungrouped = $derived.by(() => (this.group && this.runs.whole ? Math.max(0, (this.runs.total ?? 0) - this.runs.start.length) : 0));

  // What is drawn

  readonly drawn: DrawnRuns;
  /** Ids of the runs that are drawn. */
  readonly shown = $derived.by(() => this.drawn.ids);
  readonly shownSet = $derived.by(() => this.drawn.set);
  readonly colours: RunColours;

  keys = $state.raw<Key[]>([]);
  keysLoaded = $state(false);
  private keysError = $state<Failure | null>(null);
  private keysAsked = 0;
  private readonly listeners = new Set<Listener>();

  /** fixed: the runs of a screen that is about these and no others. */
  constructor(
    readonly name: string,
    private readonly fixed: string[] | null = null,
  ) {
    this.runs = new RunPages(name, () => ({ filter: effectiveFilter(this.filter), sort: this.sort, columns: this.wantedColumns(), whole: this.group !== null }));
    const lists = () => (this.group ? this.groups.map((group) => group.runs) : [this.runs.start]);
    this.drawn = new DrawnRuns(fixed, lists, () => void this.find());
    this.colours = new RunColours(
      name,
      () => this.byAge(),
      () => this.groups.map((group) => group.value),
      () => !this.fixed && !this.group,
    );
  }

  get total(): number | null {
    return this.runs.total;
  }

  get error(): Failure | null {
    return this.runs.error ?? this.keysError;
  }

  get filterError(): string | null {
    return this.runs.filterError;
  }

  label(id: string): string {
    return this.runs.labels.get(id)?.name ?? id;
  }

  /** The group of a run, as it is written; null while the run is not known. */
  groupOf(id: string): string | null {
    const run = this.runs.known.get(id);
    return run && this.group ? groupValue(run, this.group) : null;
  }

  path(id: string): string {
    return `${this.name}/${id}`;
  }

  /** The runs of a screen that is about a few of them. */
  learn(runs: readonly Run[]): void {
    for (const run of runs) this.runs.learn(run);
    this.runs.total = runs.length;
  }

  /** The run in a line of the table; undefined where there is a group, or a run that is not there yet. */
  runAt(index: number): Run | undefined {
    if (!this.items) return this.runs.at(index);
    const item = this.items[index];
    return item && "run" in item ? item.run : undefined;
  }

  groupAt(index: number): Group | null {
    const item = this.items?.[index];
    return item && "group" in item ? item.group : null;
  }

  fold(value: string): void {
    const unfolded = new Set(this.unfolded);
    if (!unfolded.delete(value)) unfolded.add(value);
    this.unfolded = unfolded;
  }

  async reload(): Promise<void> {
    await this.runs.reload();
    await this.find();
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

  private wantedColumns(): string[] {
    const wanted = new Set(this.tableColumns);
    if (this.group) wanted.add(this.group);
    return [...wanted].filter((name) => name.startsWith("config.") || name.startsWith("summary."));
  }

  /** Runs that are drawn or pinned and do not stand in the loaded part of the table. */
  private find(): Promise<void> {
    return this.runs.find([...new Set([...this.shown, ...this.drawn.pinned])]);
  }

  /** The drawn runs, the oldest first. */
  private byAge(): { ids: string[]; settled: boolean } {
    const created = (id: string) => this.runs.labels.get(id)?.created ?? 0;
    return {
      ids: [...this.shown].sort((a, b) => created(a) - created(b) || (a < b ? -1 : 1)),
      settled: this.shown.every((id) => this.runs.labels.has(id)),
    };
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

  // Keys

  async loadKeys(): Promise<void> {
    const shown = this.shown;
    const asked = ++this.keysAsked;
    if (shown.length === 0) {
      this.keys = [];
      this.keysLoaded = this.total !== null;
      return;
    }
    try {
      const found = await api.keys(this.name, shown);
      if (asked !== this.keysAsked) return;
      const fresh = found.filter((key) => !key.key.startsWith("_")).map((key) => ({ name: key.key, kind: key.kind }));
      if (JSON.stringify(fresh) !== JSON.stringify(this.keys)) this.keys = fresh;
      this.keysLoaded = true;
      this.keysError = null;
    } catch (error) {
      const failure = error as Failure;
      if (failure.status !== 404) this.keysError = failure;
    }
  }

  // Changes

  /** Begin to hear of changes; the returned function ends it. */
  listen(): () => void {
    const gathered = new Gathered((rows, facts) => this.look(rows, facts));
    const stop = connection.listen((change) => {
      if (change.kind === "all" || change.project === this.name) gathered.add(change);
    });
    return () => {
      stop();
      gathered.stop();
      this.runs.stop();
    };
  }

  /** Call back with the paths of runs that have new rows. What it waits for sets the pace. */
  onRows(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private async look(rows: ReadonlySet<string> | null, facts: ReadonlySet<string> | null): Promise<void> {
    const work: (void | Promise<void>)[] = [];
    const bySummary = this.tableColumns.some((name) => name.startsWith("summary.")) || this.sort.includes("summary.");
    if (!this.fixed && (!facts || facts.size || (bySummary && rows?.size))) work.push(this.runs.refresh().then(() => this.find()));
    const drawn = new Set(this.shown.filter((id) => !rows || rows.has(id)).map((id) => this.path(id)));
    if (drawn.size) {
      work.push(this.loadKeys());
      for (const listener of this.listeners) work.push(listener(drawn));
    }
    await Promise.all(work);
  }
}
