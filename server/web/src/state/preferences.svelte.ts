/** What belongs to the viewer and not to the address: theme and widths. Kept in the browser when it allows that. */

/** A JSON value of the browser's storage, or what to use without it. */
export function stored<T>(name: string, otherwise: T, where: "local" | "session" = "local"): T {
  try {
    const text = storage(where).getItem(`milepost.${name}`);
    return text === null ? otherwise : (JSON.parse(text) as T);
  } catch {
    return otherwise;
  }
}

/** Keep a value in the browser, or in this tab of it (session); null forgets it. */
export function store(name: string, value: unknown, where: "local" | "session" = "local"): void {
  try {
    if (value === null) storage(where).removeItem(`milepost.${name}`);
    else storage(where).setItem(`milepost.${name}`, JSON.stringify(value));
  } catch {
    // Private windows may refuse; the page works without.
  }
}

function storage(where: "local" | "session"): Storage {
  return where === "local" ? localStorage : sessionStorage;
}

const dark = matchMedia("(prefers-color-scheme: dark)");

class Preferences {
  private chosen = $state<"light" | "dark" | null>(stored("theme", null));
  private system = $state(dark.matches);
  panel = $state<number>(stored("panel", 380));

  constructor() {
    dark.addEventListener("change", () => (this.system = dark.matches));
    this.apply();
  }

  get theme(): "light" | "dark" {
    return this.chosen ?? (this.system ? "dark" : "light");
  }

  toggleTheme(): void {
    this.chosen = this.theme === "dark" ? "light" : "dark";
    store("theme", this.chosen);
    this.apply();
  }

  setPanel(width: number): void {
    this.panel = width;
    store("panel", width);
  }

  private apply(): void {
    if (this.chosen) document.documentElement.dataset.theme = this.chosen;
    else delete document.documentElement.dataset.theme;
  }
}

export const preferences = new Preferences();
