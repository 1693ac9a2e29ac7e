/** The order and the size of panels, as the address and the browser keep them: only what differs from what would be without. */

/** Columns and rows of the grid that a panel takes. */
export type Span = readonly [number, number];

export const WIDEST = 4;
export const TALLEST = 3;
const USUAL: Span = [1, 1];

/** Names as an address lists them; what was cut off is left out. */
export function names(text: string | null): string[] {
  return (text ?? "").split(",").flatMap((part) => {
    try {
      return part ? [decodeURIComponent(part)] : [];
    } catch {
      return [];
    }
  });
}

export function namesText(list: Iterable<string>): string {
  return [...list].map(encoded).join(",");
}

/** Commas part names, so those within one are written as %2C; the rest stays as somebody can read it. */
function encoded(name: string): string {
  return name.replaceAll("%", "%25").replaceAll(",", "%2C");
}

/** Names in the order of the viewer: those that were placed first, the rest as they come. */
export function arranged(natural: readonly string[], order: readonly string[]): string[] {
  const all = new Set(natural);
  const placed = order.filter((name) => all.has(name));
  const first = new Set(placed);
  return [...placed, ...natural.filter((name) => !first.has(name))];
}

/** The order with a name moved to a place: as few names as it takes, as those behind them stand as they come. */
export function reordered(natural: readonly string[], order: readonly string[], name: string, to: number): string[] {
  const now = arranged(natural, order).filter((each) => each !== name);
  now.splice(Math.max(0, Math.min(now.length, to)), 0, name);
  const rank = new Map(natural.map((each, i) => [each, i]));
  let kept = now.length - 1;
  while (kept > 0 && rank.get(now[kept - 1]!)! < rank.get(now[kept]!)!) kept--;
  const mine = new Set(natural);
  return [...order.filter((each) => !mine.has(each)), ...now.slice(0, kept)];
}

/** "loss:2x1,train/acc:4x2" with names as in addresses. */
export function spans(text: string): Map<string, Span> {
  const found = new Map<string, Span>();
  for (const part of text.split(",")) {
    const match = /^(.+):([1-9])x([1-9])$/.exec(part);
    if (!match) continue;
    try {
      found.set(decodeURIComponent(match[1]!), clamped([Number(match[2]), Number(match[3])]));
    } catch {
      // a name that was cut off
    }
  }
  return found;
}

export function spansText(found: ReadonlyMap<string, Span>): string {
  return [...found].map(([name, [wide, tall]]) => `${encoded(name)}:${wide}x${tall}`).join(",");
}

/** The spans with one changed; the usual size is not kept. */
export function resized(found: ReadonlyMap<string, Span>, name: string, span: Span): Map<string, Span> {
  const next = new Map(found);
  const [wide, tall] = clamped(span);
  if (wide === USUAL[0] && tall === USUAL[1]) next.delete(name);
  else next.set(name, [wide, tall]);
  return next;
}

/** Widths of panels in a grid of so many columns. elastic: the panel is as wide as it wants to be at least, and takes what is left of its
 * row. Panels are placed as CSS does it (dense): each where it first fits. */
export function filled(panels: readonly { wide: number; elastic: boolean }[], columns: number): number[] {
  const rows: number[][] = []; // for each cell the panel in it, or -1
  const placed = panels.map(({ wide }, panel) => {
    const width = Math.max(1, Math.min(columns, wide));
    for (let row = 0; ; row++) {
      const cells = (rows[row] ??= new Array<number>(columns).fill(-1));
      for (let left = 0; left + width <= columns; left++) {
        if (cells.slice(left, left + width).some((one) => one >= 0)) continue;
        cells.fill(panel, left, left + width);
        return { row, left, width };
      }
    }
  });
  return placed.map(({ row, left, width }, panel) => {
    if (!panels[panel]!.elastic) return width;
    while (left + width < columns && rows[row]![left + width] === -1) width++;
    return width;
  });
}

function clamped([wide, tall]: Span): Span {
  return [Math.max(1, Math.min(WIDEST, wide)), Math.max(1, Math.min(TALLEST, tall))];
}
