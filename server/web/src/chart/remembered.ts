/** How a viewer left the panels of a project: pinned, placed, sized and folded. An address that says nothing shows it again. */

import { place } from "../state/place.svelte";
import { store, stored } from "../state/preferences.svelte";

const NAMES = ["keep", "order", "span", "fold"] as const;

/** Keep what the address says of panels. */
export function remember(project: string): void {
  const found: Record<string, string> = {};
  for (const name of NAMES) {
    const text = place.get(name);
    if (text) found[name] = text;
  }
  store(`panels.${project}`, Object.keys(found).length ? found : null);
}

/** Show the panels as they were left, where the address names neither panels nor anything else. */
export function recall(project: string): void {
  if ([...place.place.query.keys()].some((name) => name !== "view")) return;
  const found = stored<Partial<Record<(typeof NAMES)[number], string>>>(`panels.${project}`, {});
  const changes = Object.fromEntries(NAMES.flatMap((name) => (typeof found[name] === "string" ? [[name, found[name]]] : [])));
  if (Object.keys(changes).length) place.set(changes);
}
