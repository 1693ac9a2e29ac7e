/** What belongs to the viewer and not to the address: theme and widths. Kept in the browser when it allows that. */

function read(name: string): string | null {
  try {
    return localStorage.getItem(`milepost.${name}`);
  } catch {
    return null;
  }
}

function write(name: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(`milepost.${name}`);
    else localStorage.setItem(`milepost.${name}`, value);
  } catch {
    // Private windows may refuse; the page works without.
  }
}

/** A JSON value of the browser's storage, or what to use without it. */
export function stored<T>(name: string, otherwise: T): T {
  try {
    const text = read(name);
    return text === null ? otherwise : (JSON.parse(text) as T);
  } catch {
    return otherwise;
  }
}

export function store(name: string, value: unknown): void {
  write(name, value === null ? null : JSON.stringify(value));
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
