/** One project as its screen shows it: what the address asks for, which runs are drawn, in which groups and colours, and their keys.
 *
 * The runs are in `KnownRuns`, the groups in `Groups`, the choice of what is drawn in `DrawnRuns`, the colours in `RunColours`, and the pace at
 * which changes are looked at in `Gathered`.
 */

import { api, type Failure } from "../api/client";
import type { Key, Run } from "../api/model";
import { effectiveFilter } from "../filter/language";
import { searchWord } from "../sections";
import { decodeColumn } from "./columns";
import { DrawnRuns, SHOWN_FIRST, SHOWN_MOST } from "./drawn.svelte";
import { Gathered } from "./gathered";
import { type Group, Groups, type Line } from "./groups.svelte";
import { connection } from "./live.svelte";
import { place } from "./place.svelte";
import { RunColours } from "./runColours.svelte";
import { type InGroup, KnownRuns } from "./runs.svelte";
import { say } from "../ui/toasts.svelte";

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

  // The table

  /** What the project's runs could be told apart by, until somebody chooses columns. */
  private suggested = $state.raw<string[]>([]);
  readonly tableColumns = $derived(this.columns ?? this.suggested);
  readonly runs: KnownRuns;
  readonly groups: Groups;
  private groupedBy: string | null = null;
  /** How many runs pass the filter; null before the first answer. */
  readonly total = $derived.by(() => this.fixed?.length ?? (this.group ? this.groups.runs : this.runs.table.total));
  readonly length = $derived.by(() => (this.group ? this.groups.length : (this.runs.table.total ?? 0)));
  // What is drawn

  readonly drawn: DrawnRuns;
  /** Ids of the runs that are drawn. */
  readonly shown = $derived.by(() => this.drawn.ids);
  readonly shownSet = $derived.by(() => this.drawn.set);
  readonly colours: RunColours;

  keys = $state.raw<Key[]>([]);
  keysLoaded = $state(false);
  /** How many keys the shown runs have beside those in `keys`, which are the first ones, or those that are searched for. */
  otherKeys = $state(0);
  /** Whether there are more keys than are asked for at once: a search is then the server's. */
  private manyKeys = $state(false);
  private keysError = $state<Failure | null>(null);
  private keysAsked = 0;
  private keysTimer: ReturnType<typeof setTimeout> | undefined;
  private readonly listeners = new Set<Listener>();

  /** fixed: the runs of a screen that is about these and no others. */
  constructor(
    readonly name: string,
    private readonly fixed: string[] | null = null,
  ) {
    const question = () => ({ filter: effectiveFilter(this.filter), sort: this.sort, columns: this.wantedColumns(), by: this.group });
    this.runs = new KnownRuns(name, question);
    this.groups = new Groups(name, question, this.runs, SHOWN_FIRST);
    const lists = () => (this.group ? this.groups.firsts : [this.runs.table.start]);
    this.drawn = new DrawnRuns(fixed, lists, () => void this.find());
    this.colours = new RunColours(
      name,
      () => this.byAge(),
      () => [...this.groups.list.loaded()].map(([, group]) => group.key),
      () => !this.fixed && !this.group,
    );
  }

  /** What went wrong with the table, in the question that is asked now. */
  private get tableError(): Failure | null {
    return this.group ? this.groups.list.error : this.runs.table.error;
  }

  get error(): Failure | null {
    return (this.filterError === null ? this.tableError : null) ?? this.keysError;
  }

  /** Why the filter cannot be read. */
  get filterError(): string | null {
    const error = this.tableError;
    return error?.status === 400 && effectiveFilter(this.filter) ? error.detail || error.title : null;
  }

  label(id: string): string {
    return this.runs.labels.get(id)?.name ?? id;
  }

  /** The group of a run; null while it is not known. */
  groupOf(id: string): InGroup | null {
    return (this.group && this.runs.inGroup.get(id)) || null;
  }

  path(id: string): string {
    return `${this.name}/${id}`;
  }

  /** The runs of a screen that is about a few of them. */
  learn(runs: readonly Run[]): void {
    this.runs.learnAll([...runs]);
  }

  private line(index: number): Line | undefined {
    if (this.group) return this.groups.at(index);
    const run = this.runs.table.at(index);
    return run && { run };
  }

  /** The run in a line of the table; undefined where there is a group, or a run that is not there yet. */
  runAt(index: number): Run | undefined {
    const line = this.line(index);
    return line && "run" in line ? line.run : undefined;
  }

  groupAt(index: number): Group | null {
    const line = this.line(index);
    return line && "group" in line ? line.group : null;
  }

  /** See to it that these lines of the table are there, and new. */
  need(first: number, last: number): void {
    if (this.group) this.groups.need(first, last);
    else this.runs.table.need(first, last);
  }

  /** Draw the runs of a group, as many as can be; none of them when that is so already. */
  async drawGroup(group: Group): Promise<void> {
    if (!this.canDraw(group)) return this.drawn.show(this.shown.filter((id) => this.groupOf(id)?.key !== group.key));
    try {
      const { items } = (await this.runs.page(group.key, 0, SHOWN_MOST))();
      this.drawn.show([...new Set([...this.shown, ...items.map((run) => run.id)])]);
    } catch (error) {
      say((error as Failure).message, "error");
    }
  }

  /** Whether to draw more of a group is what a click on it asks for: it is not when its runs are drawn, or as many as can be. */
  canDraw(group: Group): boolean {
    const count = this.shown.filter((id) => this.groupOf(id)?.key === group.key).length;
    return count < group.runs && (count === 0 || this.shown.length < SHOWN_MOST);
  }

  async reload(): Promise<void> {
    if (this.groupedBy !== this.group) this.groups.clear();
    this.groupedBy = this.group;
    await (this.group ? this.groups.reload() : this.runs.table.reload());
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
      const { total, keys: found } = await api.keys(this.name, shown, this.manyKeys ? searchWord(place.get("k") ?? "") : "");
      if (asked !== this.keysAsked) return;
      this.otherKeys = total - found.length;
      const fresh = found.filter((key) => !key.key.startsWith("_")).map((key) => ({ name: key.key, kind: key.kind }));
      if (JSON.stringify(fresh) !== JSON.stringify(this.keys)) this.keys = fresh;
      this.keysLoaded = true;
      this.keysError = null;
      if (this.otherKeys > 0 && !this.manyKeys) {
        this.manyKeys = true;
        if (place.get("k")) void this.loadKeys();
      }
    } catch (error) {
      const failure = error as Failure;
      if (failure.status !== 404) this.keysError = failure;
    }
  }

  /** Somebody searches among the keys. */
  searchKeys(): void {
    clearTimeout(this.keysTimer);
    if (this.manyKeys) this.keysTimer = setTimeout(() => void this.loadKeys(), 200);
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
      this.runs.table.stop();
      this.groups.stop();
    };
  }

  /** Call back with the paths of runs that have new rows. What it waits for sets the pace. */
  onRows(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private async refresh(): Promise<void> {
    await (this.group ? this.groups.refresh(!this.drawn.isChosen) : this.runs.table.refresh());
    await this.find();
  }

  private async look(rows: ReadonlySet<string> | null, facts: ReadonlySet<string> | null): Promise<void> {
    const work: (void | Promise<void>)[] = [];
    const bySummary = this.tableColumns.some((name) => name.startsWith("summary.")) || this.sort.includes("summary.");
    if (!this.fixed && (!facts || facts.size || (bySummary && rows?.size))) work.push(this.refresh());
    const drawn = new Set(this.shown.filter((id) => !rows || rows.has(id)).map((id) => this.path(id)));
    if (drawn.size) {
      work.push(this.loadKeys());
      for (const listener of this.listeners) work.push(listener(drawn));
    }
    await Promise.all(work);
  }
}
