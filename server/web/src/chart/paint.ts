/** The lines of a chart on a canvas: shades first, then what is behind, then the line in front, then marks. */

import { type Curve, lower, upper } from "./curves";
import type { Line, Look } from "./look";
import type { Box, Scales } from "./scales";

/** A canvas to paint on. ratio: its pixels for a CSS pixel. */
interface Ground {
  ctx: CanvasRenderingContext2D;
  box: Box;
  ratio: number;
  x: (value: number) => number;
  y: (value: number) => number;
  /** what is seen of x */
  from: number;
  to: number;
}

export function paint(ctx: CanvasRenderingContext2D, box: Box, ratio: number, look: Look, scales: Scales): void {
  const { lines, focus, envelope } = look;
  const [from, to] = scales.x;
  const ground: Ground = { ctx, box, ratio, x: scales.toX(box), y: scales.toY(box), from, to };
  ctx.save();
  // A little more than the plotting area: a point or a mark at its edge is not cut in half.
  const room = 5 * ratio;
  ctx.beginPath();
  ctx.rect(box.left - room, box.top - room, box.width + 2 * room, box.height + 2 * room);
  ctx.clip();
  ctx.lineJoin = "round";
  const front = lines.filter((line) => line.id === focus);
  const behind = front.length ? lines.filter((line) => line.id !== focus) : lines;
  for (const line of [...behind, ...front]) {
    const dim = front.length > 0 && line.id !== focus;
    if (envelope && line.curve.banded && !dim) band(ground, line);
    if (line.raw) stroke(ground, line.raw, line.colour(dim ? 0.07 : 0.28), 1, []);
    stroke(ground, line.curve, line.colour(dim ? 0.25 : 1), focus === line.id ? 2.5 : 1.5, line.dash);
  }
  ctx.setLineDash([]);
  for (const line of lines) marks(ground, line);
  ctx.restore();
}

/** A dot with a rim for each value that is pointed at. */
export function paintDots(ctx: CanvasRenderingContext2D, ratio: number, dots: readonly { left: number; top: number; colour: string }[], rim: string): void {
  for (const { left, top, colour } of dots) {
    ctx.beginPath();
    ctx.arc(left * ratio, top * ratio, 3.5 * ratio, 0, 7);
    ctx.fillStyle = colour;
    ctx.fill();
    ctx.lineWidth = 1.5 * ratio;
    ctx.strokeStyle = rim;
    ctx.stroke();
  }
}

/** The points that are seen, and one to either side, so that lines leave the picture instead of ending in it. */
function seen({ from, to }: Ground, x: Float64Array): [number, number] {
  return [Math.max(0, lower(x, from) - 1), Math.min(x.length, upper(x, to) + 1)];
}

function stroke(ground: Ground, curve: Curve, colour: string, width: number, dash: readonly number[]): void {
  const { ctx, ratio, x: px, y: py } = ground;
  const { x, y } = curve;
  const [start, end] = seen(ground, x);
  ctx.beginPath();
  ctx.strokeStyle = ctx.fillStyle = colour;
  ctx.lineWidth = width * ratio;
  ctx.setLineDash(dash.map((part) => part * ratio));
  let open = false;
  let alone: [number, number] | null = null;
  const dots: [number, number][] = [];
  for (let i = start; i < end; i++) {
    const b = py(y[i]!);
    if (!Number.isFinite(b)) {
      if (alone) dots.push(alone);
      open = false;
      alone = null;
      continue;
    }
    const a = px(x[i]!);
    if (open) {
      ctx.lineTo(a, b);
      alone = null;
    } else {
      ctx.moveTo(a, b);
      alone = [a, b];
      open = true;
    }
  }
  if (alone) dots.push(alone);
  ctx.stroke();
  // A point without neighbours makes no line.
  for (const [a, b] of dots) {
    ctx.beginPath();
    ctx.arc(a, b, width * ratio * 1.4, 0, 7);
    ctx.fill();
  }
}

function band(ground: Ground, line: Line): void {
  const { ctx, box, x: px, y: py } = ground;
  const { x, min, max } = line.curve;
  const [start, end] = seen(ground, x);
  const floor = box.top + box.height;
  ctx.fillStyle = line.colour(0.16);
  for (let i = start; i < end; ) {
    while (i < end && Number.isNaN(min[i]!)) i++;
    let stop = i;
    while (stop < end && !Number.isNaN(min[stop]!)) stop++;
    if (stop - i > 1) {
      ctx.beginPath();
      for (let j = i; j < stop; j++) ctx.lineTo(px(x[j]!), py(max[j]!));
      for (let j = stop - 1; j >= i; j--) {
        const b = py(min[j]!);
        ctx.lineTo(px(x[j]!), Number.isFinite(b) ? b : floor);
      }
      ctx.fill();
    }
    i = Math.max(stop, i + 1);
  }
}

/** Where values were that are no numbers: a cross at the bottom, a triangle at the edge that they left by. */
function marks({ ctx, box, ratio, x: px }: Ground, line: Line): void {
  if (line.marks.length === 0) return;
  const size = 4 * ratio;
  ctx.fillStyle = ctx.strokeStyle = line.colour();
  ctx.lineWidth = 1.5 * ratio;
  // Marks that would stand on each other are one: a run that went to NaN has one at every step.
  const taken = { NaN: -Infinity, "+Inf": -Infinity, "-Inf": -Infinity };
  for (const { x, what } of line.marks) {
    const a = px(x);
    if (a - taken[what] < size * 4) continue;
    taken[what] = a;
    const b = what === "+Inf" ? box.top + size + 1 : box.top + box.height - size - 1;
    ctx.beginPath();
    if (what === "NaN") {
      ctx.moveTo(a - size, b - size);
      ctx.lineTo(a + size, b + size);
      ctx.moveTo(a + size, b - size);
      ctx.lineTo(a - size, b + size);
      ctx.stroke();
    } else {
      const tip = what === "+Inf" ? -size : size;
      ctx.moveTo(a - size, b - tip);
      ctx.lineTo(a + size, b - tip);
      ctx.lineTo(a, b + tip);
      ctx.fill();
    }
  }
}
