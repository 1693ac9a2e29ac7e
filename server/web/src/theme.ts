/** Colours of the design system for what is drawn, and not styled: canvases, SVG files, frames. */

const cache = new Map<string, string>();
let probe: HTMLElement | null = null;

/** What a colour variable is right now: light-dark() has to be computed by the browser. */
export function resolved(name: string): string {
  const theme = document.documentElement.dataset.theme ?? String(matchMedia("(prefers-color-scheme: dark)").matches);
  const key = `${theme} ${name}`;
  let value = cache.get(key);
  if (value === undefined) {
    if (!probe) {
      probe = document.createElement("span");
      probe.hidden = true;
      document.body.append(probe);
    }
    probe.style.color = `var(${name})`;
    value = getComputedStyle(probe).color;
    cache.set(key, value);
  }
  return value;
}
