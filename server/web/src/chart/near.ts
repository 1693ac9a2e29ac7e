/** Whether a panel is in sight or will be soon: what is far costs nothing. */

/** How far beyond the edge, as a CSS margin: as much as is scrolled while the points come. */
const SOON = "250px";

export interface Near {
  seen: (near: boolean) => void;
  /** it is in sight wherever it stands, as in a dialog */
  always?: boolean;
}

/** use:near on a panel within a `.charts-scroll`. */
export function near(panel: HTMLElement, { seen, always = false }: Near): { destroy: () => void } {
  if (always) {
    seen(true);
    return { destroy: () => undefined };
  }
  const observer = new IntersectionObserver((entries) => seen(entries.at(-1)!.isIntersecting), { root: panel.closest(".charts-scroll"), rootMargin: SOON });
  observer.observe(panel);
  return { destroy: () => observer.disconnect() };
}
