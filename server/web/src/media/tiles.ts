/** How large equal pictures can be drawn in a card. */

const GAP = 6;
const LEAST = 44;

/** The width of one of so many pictures that are to stand in rows in this space, each with a caption below: as large as fits. When
 * even small ones do not fit, they keep a size that can be seen, and the card scrolls. */
export function tile(count: number, space: { width: number; height: number }, ratio: number, caption: number): number {
  let best = 0;
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const across = (space.width - GAP * (columns - 1)) / columns;
    const down = ((space.height - GAP * (rows - 1)) / rows - caption) * ratio;
    best = Math.max(best, Math.min(across, down));
  }
  const least = count === 1 ? Math.min(space.width, LEAST * Math.max(1, ratio)) : LEAST;
  return Math.max(least, Math.floor(best));
}
