/** Arithmetic of curves, apart from drawing: smoothing, ranges, groups, the nearest point, CSV, a summary in words. */

import { number } from "../format";

/** One line of a chart. x rises; NaN in y is a hole. */
export interface Curve {
  id: string;
  label: string;
  x: Float64Array;
  y: Float64Array;
  min: Float64Array;
  max: Float64Array;
  /** min and max differ from y somewhere: there is an envelope to shade */
  banded: boolean;
}

/** Exponential moving average, corrected for its start as in Adam, so that the first points are not drawn to zero.
 *
 * weight: 0 (nothing) to below 1. Holes stay holes and do not feed the average. Uneven distances count: a gap of d typical
 * steps decays the past d times, so that a curve looks the same however the server has put its points in buckets.
 */
export function smooth(x: Float64Array, y: Float64Array, weight: number): Float64Array {
  if (!(weight > 0) || y.length < 3) return y;
  const out = new Float64Array(y.length);
  const typical = typicalStep(x);
  let average = 0;
  let mass = 0;
  let before = NaN;
  for (let i = 0; i < y.length; i++) {
    const value = y[i]!;
    if (Number.isNaN(value)) {
      out[i] = NaN;
      continue;
    }
    const steps = typical > 0 && !Number.isNaN(before) ? Math.min(50, Math.max(0.02, (x[i]! - before) / typical)) : 1;
    const keep = steps === 1 ? weight : weight ** steps;
    average = average * keep + value * (1 - keep);
    mass = mass * keep + (1 - keep);
    out[i] = average / mass;
    before = x[i]!;
  }
  return out;
}

function typicalStep(x: Float64Array): number {
  const n = x.length;
  return n > 1 ? (x[n - 1]! - x[0]!) / (n - 1) : 0;
}

/** Smallest and largest value that is drawn; null when there is none. */
export function range(curves: readonly Curve[], from = -Infinity, to = Infinity, envelope = true, positive = false): [number, number] | null {
  let low = Infinity;
  let high = -Infinity;
  for (const { x, y, min, max } of curves) {
    const end = upper(x, to);
    for (let i = lower(x, from); i < end; i++) {
      const a = envelope ? min[i]! : y[i]!;
      const b = envelope ? max[i]! : y[i]!;
      if (a < low && (!positive || a > 0)) low = a;
      if (b > high) high = b;
    }
  }
  if (positive && !(low < Infinity)) return null;
  return low <= high ? [low, high] : null;
}

/** The range without outliers: between the 1st and 99th of a hundred, each widened by a quarter of what lies between. */
export function clippedRange(curves: readonly Curve[], from = -Infinity, to = Infinity, positive = false): [number, number] | null {
  const values: number[] = [];
  for (const { x, y } of curves) {
    const end = upper(x, to);
    for (let i = lower(x, from); i < end; i++) {
      const value = y[i]!;
      if (!Number.isNaN(value) && (!positive || value > 0)) values.push(value);
    }
  }
  if (values.length === 0) return null;
  const sorted = Float64Array.from(values).sort();
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.max(0, Math.round(share * (sorted.length - 1))))]!;
  const low = at(0.01);
  const high = at(0.99);
  // On a logarithmic axis what lies between is a ratio.
  const [below, above] = positive ? [low / (high / low) ** 0.25, high * (high / low) ** 0.25] : [low - (high - low) * 0.25, high + (high - low) * 0.25];
  return [Math.max(sorted[0]!, below), Math.min(sorted[sorted.length - 1]!, above)];
}

/** Index of the first x that is not below the value. */
export function lower(x: Float64Array, value: number): number {
  let a = 0;
  let b = x.length;
  while (a < b) {
    const m = (a + b) >> 1;
    if (x[m]! < value) a = m + 1;
    else b = m;
  }
  return a;
}

/** Index after the last x that is not above the value. */
export function upper(x: Float64Array, value: number): number {
  let a = 0;
  let b = x.length;
  while (a < b) {
    const m = (a + b) >> 1;
    if (x[m]! <= value) a = m + 1;
    else b = m;
  }
  return a;
}

/** Index of the point nearest to a value of x, holes passed over; -1 when the value is far outside the curve. */
export function nearest(curve: { x: Float64Array; y: Float64Array }, value: number): number {
  const { x, y } = curve;
  const n = x.length;
  if (n === 0) return -1;
  const slack = n > 1 ? ((x[n - 1]! - x[0]!) / (n - 1)) * 1.5 : Infinity;
  if (value < x[0]! - slack || value > x[n - 1]! + slack) return -1;
  const at = lower(x, value);
  let left = at - 1;
  let right = at;
  while (left >= 0 && Number.isNaN(y[left]!)) left--;
  while (right < n && Number.isNaN(y[right]!)) right++;
  if (left < 0) return right < n ? right : -1;
  if (right >= n) return left;
  return value - x[left]! <= x[right]! - value ? left : right;
}

/** The value of a curve at x, between its points in a straight line; NaN outside. */
export function at(curve: { x: Float64Array; y: Float64Array }, value: number): number {
  const { x, y } = curve;
  const n = x.length;
  if (n === 0 || value < x[0]! || value > x[n - 1]!) return NaN;
  const i = lower(x, value);
  if (x[i] === value) return y[i]!;
  const share = (value - x[i - 1]!) / (x[i]! - x[i - 1]!);
  return y[i - 1]! + (y[i]! - y[i - 1]!) * share;
}

/** Mean and spread of several curves as one: at the points of all, at most `points` of them. The band is min to max, or one
 * standard deviation to either side. */
export function mean(id: string, label: string, curves: readonly Curve[], band: "minmax" | "std" = "minmax", points = 400): Curve {
  const all = Float64Array.from(new Set(curves.flatMap((curve) => [...curve.x]))).sort();
  const step = Math.max(1, all.length / points);
  const xs: number[] = [];
  for (let i = 0; i < all.length; i += step) xs.push(all[Math.floor(i)]!);
  if (all.length && xs[xs.length - 1] !== all[all.length - 1]) xs.push(all[all.length - 1]!);
  const x = Float64Array.from(xs);
  const y = new Float64Array(x.length).fill(NaN);
  const min = new Float64Array(x.length).fill(NaN);
  const max = new Float64Array(x.length).fill(NaN);
  for (let i = 0; i < x.length; i++) {
    let n = 0;
    let sum = 0;
    let squares = 0;
    let low = Infinity;
    let high = -Infinity;
    for (const curve of curves) {
      const value = at(curve, x[i]!);
      if (Number.isNaN(value)) continue;
      n++;
      sum += value;
      squares += value * value;
      if (value < low) low = value;
      if (value > high) high = value;
    }
    if (n === 0) continue;
    const centre = sum / n;
    y[i] = centre;
    const spread = Math.sqrt(Math.max(0, squares / n - centre * centre));
    min[i] = band === "std" ? centre - spread : low;
    max[i] = band === "std" ? centre + spread : high;
  }
  return { id, label, x, y, min, max, banded: curves.length > 1 };
}

/** The curves as a table: one row per x, one column per curve. */
export function csv(xLabel: string, curves: readonly Curve[]): string {
  const xs = Float64Array.from(new Set(curves.flatMap((curve) => [...curve.x]))).sort();
  const at = curves.map(() => 0);
  const lines = [[xLabel, ...curves.map((curve) => curve.label)].map(quoted).join(",")];
  for (const x of xs) {
    const cells: string[] = [String(x)];
    curves.forEach((curve, i) => {
      while (at[i]! < curve.x.length && curve.x[at[i]!]! < x) at[i]!++;
      const here = at[i]!;
      cells.push(curve.x[here] === x && !Number.isNaN(curve.y[here]!) ? String(curve.y[here]) : "");
    });
    lines.push(cells.join(","));
  }
  return `${lines.join("\n")}\n`;
}

/** A field of a CSV file; text that a spreadsheet would run as a formula gets an apostrophe. */
export function quoted(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export interface Described {
  label: string;
  first: number;
  last: number;
  min: number;
  minAt: number;
  max: number;
  maxAt: number;
  n: number;
}

/** What a curve does, in numbers; null when it has no point. */
export function describe(curve: Curve): Described | null {
  let first = -1;
  let last = -1;
  let low = -1;
  let high = -1;
  let n = 0;
  for (let i = 0; i < curve.y.length; i++) {
    const value = curve.y[i]!;
    if (Number.isNaN(value)) continue;
    n++;
    if (first < 0) first = i;
    last = i;
    if (low < 0 || curve.min[i]! < curve.min[low]!) low = i;
    if (high < 0 || curve.max[i]! > curve.max[high]!) high = i;
  }
  if (n === 0) return null;
  return {
    label: curve.label,
    first: curve.y[first]!,
    last: curve.y[last]!,
    min: curve.min[low]!,
    minAt: curve.x[low]!,
    max: curve.max[high]!,
    maxAt: curve.x[high]!,
    n,
  };
}

/** A chart in words, for who does not see it. */
export function words(title: string, xLabel: string, curves: readonly Curve[], limit = 6): string {
  const told = curves.map(describe).filter((one) => one !== null);
  if (told.length === 0) return `${title}: no points yet.`;
  const parts = told.slice(0, limit).map((one) => {
    const direction = one.last > one.first ? "rises" : one.last < one.first ? "falls" : "stays";
    return `${one.label} ${direction} from ${number(one.first, 3)} to ${number(one.last, 3)}, lowest ${number(one.min, 3)} at ${number(one.minAt)}, highest ${number(one.max, 3)} at ${number(one.maxAt)}`;
  });
  const more = told.length > limit ? `; and ${told.length - limit} more` : "";
  return `${title} over ${xLabel}, ${told.length} ${told.length === 1 ? "line" : "lines"}: ${parts.join("; ")}${more}.`;
}
