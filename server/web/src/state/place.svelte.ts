/** Where the viewer is: a reactive copy of the address bar, and the only code that writes to it. */

import { parse, path, queryText, type Page, type Place } from "../url";

function here(): Place {
  return parse(location.pathname, location.search);
}

class Location {
  place = $state.raw<Place>(here());

  constructor() {
    addEventListener("popstate", () => (this.place = here()));
  }

  get page(): Page {
    return this.place.page;
  }

  get(name: string): string | null {
    return this.place.query.get(name);
  }

  /** Change parts of the query; null removes one. A new entry of the history only when asked. */
  set(changes: Record<string, string | null>, history: "replace" | "push" = "replace"): void {
    const query = new URLSearchParams(this.place.query);
    for (const [name, value] of Object.entries(changes)) {
      if (value === null || value === "") query.delete(name);
      else query.set(name, value);
    }
    this.go(path(this.page) + queryText(query), history);
  }

  /** Show another screen. */
  open(page: Page, query: Record<string, string> = {}): void {
    this.go(path(page) + queryText(new URLSearchParams(query)), "push");
  }

  go(address: string, history: "replace" | "push" = "push"): void {
    if (address === location.pathname + location.search) return;
    if (history === "push") window.history.pushState(null, "", address);
    else window.history.replaceState(null, "", address);
    this.place = here();
  }
}

export const place = new Location();

/** A link that changes the screen without loading the page; with a modifier key the browser does as it always does. */
export function follow(event: MouseEvent): void {
  const link = (event.target as Element).closest("a");
  if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const address = new URL(link.href, location.href);
  if (address.origin !== location.origin || link.target || link.hasAttribute("download") || address.pathname.startsWith("/api/")) return;
  event.preventDefault();
  place.go(address.pathname + address.search);
}
