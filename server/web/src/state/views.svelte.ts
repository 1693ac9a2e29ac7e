/** Saved views of a project: on the server for everybody, or, where it reads only, in this browser.
 *
 * The address of an opened view is the view's query and `view=ID` behind it: what is changed from there on is seen in the address,
 * and can be saved into the view. `view=-` is the project without the view that it opens with.
 */

import { api } from "../api/client";
import type { View } from "../api/model";
import { path, queryText } from "../url";
import { place } from "./place.svelte";
import { store, stored } from "./preferences.svelte";

export interface LocalView {
  name: string;
  address: string;
}

export class SavedViews {
  list = $state.raw<View[]>([]);
  /** Whether the server takes views of whoever looks. */
  writable = $state(false);
  loaded = $state(false);
  local = $state.raw<LocalView[]>([]);

  /** The opened view. */
  readonly current = $derived(this.list.find((view) => view.id === place.get("view")) ?? null);
  /** Whether what is seen is no longer what the view says. */
  readonly changed = $derived(this.current !== null && (here() !== this.current.query || screen() !== this.current.screen));

  constructor(private readonly project: string) {
    this.local = stored<LocalView[]>(`views.${project}`, []);
  }

  async load(): Promise<void> {
    const found = await api.views(this.project);
    this.list = found.views;
    this.writable = found.writable;
    this.loaded = true;
  }

  /** Follow a link to a view, or show the view that the project opens with; true when the address had to change. */
  async arrive(): Promise<boolean> {
    const names = [...place.place.query.keys()];
    const asked = place.get("view");
    if (names.length > 1 || (names.length === 1 && !asked) || asked === "-") return false;
    await this.load();
    const view = asked ? this.list.find((each) => each.id === asked) : this.list.find((each) => each.default);
    if (!view || (!asked && view.screen !== screen())) return false;
    this.open(view, "replace");
    return true;
  }

  open(view: View, history: "push" | "replace" = "push"): void {
    place.go(this.address(view), history);
  }

  address(view: View): string {
    const query = new URLSearchParams(view.query);
    query.set("view", view.id);
    return screenPath(this.project, view.screen) + queryText(query);
  }

  /** What is shared: the server knows the rest. */
  link(view: View): string {
    return `${location.origin}${screenPath(this.project, view.screen)}?view=${view.id}`;
  }

  async save(name: string): Promise<void> {
    if (!this.writable) {
      this.local = [...this.local.filter((each) => each.name !== name), { name, address: location.pathname + location.search }];
      store(`views.${this.project}`, this.local);
      return;
    }
    const mine = this.list.find((view) => view.own && view.name === name);
    const what = { screen: screen(), query: here() };
    const view = mine ? await api.changeView(this.project, mine.id, what) : await api.saveView(this.project, { name, ...what });
    await this.load();
    place.set({ view: view.id });
  }

  async update(view: View): Promise<void> {
    await api.changeView(this.project, view.id, { screen: screen(), query: here() });
    await this.load();
  }

  async setDefault(view: View, on: boolean): Promise<void> {
    await api.changeView(this.project, view.id, { default: on });
    await this.load();
  }

  async remove(view: View): Promise<void> {
    await api.deleteView(this.project, view.id);
    if (place.get("view") === view.id) place.set({ view: null });
    await this.load();
  }

  removeLocal(view: LocalView): void {
    this.local = this.local.filter((each) => each !== view);
    store(`views.${this.project}`, this.local);
  }
}

function screenPath(project: string, of: View["screen"]): string {
  return path(of === "compare" ? { name: "compare", project } : { name: "project", project, tab: of });
}

function screen(): View["screen"] {
  const page = place.page;
  return page.name === "compare" ? "compare" : page.name === "project" ? page.tab : "charts";
}

/** The query of the address, without the name of the view. */
function here(): string {
  const query = new URLSearchParams(place.place.query);
  query.delete("view");
  return query.toString();
}
