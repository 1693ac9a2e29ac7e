/** Colours for up to 100 runs that can be told apart, on light and on dark ground.
 *
 * Twelve colours in two depths make 24 colours; four dash patterns make 96 lines. Lightness is chosen per theme so that each
 * colour has a contrast of 3:1 or more with the ground (WCAG 1.4.11); a test computes it.
 */

/** Hue in degrees, chroma, and lightness on light and on dark ground: neighbours in hue differ in lightness, too. */
const FIRST: readonly (readonly [number, number, number, number])[] = [
  [262, 0.19, 0.55, 0.72], // blue
  [52, 0.16, 0.66, 0.78], // orange
  [150, 0.15, 0.56, 0.76], // green
  [18, 0.2, 0.55, 0.7], // red
  [303, 0.18, 0.55, 0.72], // purple
  [195, 0.1, 0.6, 0.8], // teal
  [350, 0.19, 0.63, 0.78], // pink
  [95, 0.13, 0.63, 0.85], // gold
  [232, 0.13, 0.64, 0.8], // sky
  [130, 0.14, 0.65, 0.85], // lime
  [35, 0.11, 0.45, 0.62], // brown
  [280, 0.07, 0.5, 0.66], // slate
];
export const COLOURS = FIRST.length * 2;
export const DASHES: readonly (readonly number[])[] = [[], [6, 3], [2, 2], [8, 3, 2, 3]];
export const SLOTS = COLOURS * DASHES.length;

export type Theme = "light" | "dark";

/** Lightness, chroma and hue in OKLCH. */
export function oklch(slot: number, theme: Theme): [number, number, number] {
  const [hue, chroma, light, dark] = FIRST[slot % FIRST.length]!;
  const second = Math.floor(slot / FIRST.length) % 2 === 1;
  const lightness = theme === "dark" ? dark : light;
  // The second dozen is the first one, deeper: on dark ground not below what can be seen.
  if (second) return [theme === "dark" ? Math.max(0.56, lightness - 0.2) : lightness - 0.18, chroma * 0.75, hue];
  return [lightness, chroma, hue];
}

/** A CSS colour; alpha 0..1. */
export function colour(slot: number, theme: Theme, alpha = 1): string {
  const [l, c, h] = oklch(slot, theme);
  return `oklch(${l} ${c} ${h}${alpha < 1 ? ` / ${alpha}` : ""})`;
}

export function dash(slot: number): readonly number[] {
  return DASHES[Math.floor(slot / COLOURS) % DASHES.length]!;
}

/** A slot for each run: the one it was given before, else the first free one of the palette, whose first colours differ the most.
 * The order given decides who chooses first, so with the oldest first a new run never recolours the ones before it. */
export function assign(ids: readonly string[], given: ReadonlyMap<string, number> = new Map()): Map<string, number> {
  const slots = new Map<string, number>();
  const taken = new Set<number>();
  for (const id of ids) {
    const own = given.get(id);
    if (own === undefined) continue;
    slots.set(id, own);
    taken.add(own);
  }
  let next = 0;
  for (const id of ids) {
    if (slots.has(id)) continue;
    while (taken.has(next % SLOTS) && next < SLOTS) next++;
    slots.set(id, next % SLOTS);
    next++;
  }
  return slots;
}
