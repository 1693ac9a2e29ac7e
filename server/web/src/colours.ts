/** Colours for up to 100 runs that can be told apart, on light and on dark ground.
 *
 * Twelve colours in two depths make 24 colours; four dash patterns make 96 lines. Lightness is chosen per theme so that each
 * colour has a contrast of 3:1 or more with the ground (WCAG 1.4.11); a test computes it.
 */

/** Hue in degrees, then chroma and lightness on light ground, then on dark ground. Found by a search for bright colours that differ the
 * most, of the first eight above all, also as seen without red or green (CIEDE2000); tests hold the distances. */
const FIRST: readonly (readonly [number, number, number, number, number])[] = [
  [258, 0.2, 0.62, 0.19, 0.6], // blue
  [36, 0.174, 0.52, 0.19, 0.675], // rust
  [192, 0.107, 0.64, 0.149, 0.9], // teal
  [288, 0.21, 0.52, 0.104, 0.8], // violet
  [72, 0.129, 0.62, 0.163, 0.8], // gold
  [342, 0.201, 0.48, 0.19, 0.6], // magenta
  [150, 0.166, 0.62, 0.19, 0.85], // green
  [0, 0.21, 0.68, 0.103, 0.825], // pink
  [168, 0.102, 0.51, 0.132, 0.675], // sea
  [12, 0.194, 0.5, 0.19, 0.675], // red
  [228, 0.121, 0.64, 0.127, 0.675], // sky
  [138, 0.145, 0.48, 0.179, 0.6], // leaf
];
export const HUES = FIRST.length;
export const COLOURS = HUES * 2;
export const DASHES: readonly (readonly number[])[] = [[], [6, 3], [2, 2], [8, 3, 2, 3]];
export const SLOTS = COLOURS * DASHES.length;

export type Theme = "light" | "dark";

/** Lightness, chroma and hue in OKLCH. */
export function oklch(slot: number, theme: Theme): [number, number, number] {
  const [hue, chromaLight, light, chromaDark, dark] = FIRST[slot % FIRST.length]!;
  const [chroma, lightness, middle] = theme === "dark" ? [chromaDark, dark, 0.74] : [chromaLight, light, 0.58];
  if (Math.floor(slot / FIRST.length) % 2 === 0) return [lightness, chroma, hue];
  // The second dozen is the first one, paler or deeper, whichever way there is room.
  return [lightness + (lightness > middle ? -0.14 : 0.14), chroma * 0.85, hue];
}

/** A CSS colour; alpha 0..1. */
export function colour(slot: number, theme: Theme, alpha = 1): string {
  const [l, c, h] = oklch(slot, theme);
  return `oklch(${l} ${c} ${h}${alpha < 1 ? ` / ${alpha}` : ""})`;
}

export function dash(slot: number): readonly number[] {
  return DASHES[Math.floor(slot / COLOURS) % DASHES.length]!;
}

/** A slot for each run, none near another while there are colours enough: who chose one has it, who was given one keeps it unless
 * its hue is taken, and the others get the first free one of the hues that are used the least. The order given decides who comes
 * first, so with the oldest first a new run never recolours the ones before it. */
export function assign(ids: readonly string[], given: ReadonlyMap<string, number> = new Map(), chosen: ReadonlyMap<string, number> = new Map()): Map<string, number> {
  const slots = new Map<string, number>();
  const taken = new Set<number>();
  const uses = new Array<number>(HUES).fill(0);
  const take = (id: string, slot: number) => {
    slots.set(id, slot);
    taken.add(slot);
    uses[slot % HUES]!++;
  };
  for (const id of ids) {
    const own = chosen.get(id);
    if (own !== undefined) take(id, own);
  }
  const each = Math.ceil(ids.length / HUES);
  for (const id of ids) {
    const own = given.get(id);
    if (own !== undefined && !slots.has(id) && !taken.has(own) && uses[own % HUES]! < each) take(id, own);
  }
  for (const id of ids) {
    if (!slots.has(id)) take(id, free(taken, uses, slots.size));
  }
  return slots;
}

function free(taken: ReadonlySet<number>, uses: readonly number[], count: number): number {
  let best = -1;
  for (let slot = 0; slot < SLOTS; slot++) {
    if (!taken.has(slot) && (best < 0 || uses[slot % HUES]! < uses[best % HUES]!)) best = slot;
  }
  return best < 0 ? count % SLOTS : best;
}
