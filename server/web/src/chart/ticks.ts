/** Round numbers along an axis, and what is written beside them: as many digits as tell neighbours apart, and no more. */

import { compact, number } from "../format";

/** Round numbers that divide a range into at most so many parts. */
export function ticks([low, high]: readonly [number, number], most: number): number[] {
  const span = high - low;
  if (!(span > 0) || !Number.isFinite(span)) return [];
  const power = 10 ** Math.floor(Math.log10(span / most));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => span / one <= most) ?? span;
  const found: number[] = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(Number((i * step).toPrecision(12)));
  return found;
}

/** Powers of ten within a range that begins above zero. */
export function powers([low, high]: readonly [number, number]): number[] {
  const found: number[] = [];
  for (let p = Math.ceil(Math.log10(low)); p <= Math.log10(high); p++) found.push(10 ** p);
  return found;
}

/** How many decimals a number needs to be written whole, up to twelve. */
function decimals(value: number): number {
  let scaled = Math.abs(value);
  for (let digits = 0; digits < 12; digits++, scaled *= 10) if (Math.abs(scaled - Math.round(scaled)) < scaled * 1e-6) return digits;
  return 12;
}

/** What stands beside the ticks of an axis. Equal words for different ticks would be a lie: 1 000 000.01 is not 1M. */
export function labels(values: readonly number[]): string[] {
  const size = Math.max(0, ...values.map(Math.abs));
  const step = values.length > 1 ? values[1]! - values[0]! : size;
  if (size === 0 || !Number.isFinite(size)) return values.map((value) => number(value));
  if (size >= 1e15 || size < 1e-4) {
    const power = Math.floor(Math.log10(size));
    const unit = 10 ** power;
    const digits = decimals(step / unit);
    return values.map((value) => (value === 0 ? "0" : `${plain(value / unit, digits)}e${power}`));
  }
  const [unit, letter] = ([[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]] as const).find(([one]) => size >= Math.max(one, 1e4)) ?? [1, ""];
  const digits = decimals(step / unit);
  if (letter && digits <= 2) return values.map((value) => (value === 0 ? "0" : `${plain(value / unit, digits)}${letter}`));
  const own = decimals(step);
  return values.map((value) => plain(value, own));
}

/** A number with up to so many decimals, none of them a zero at the end. */
function plain(value: number, digits: number): string {
  const text = value.toFixed(digits);
  return (digits ? text.replace(/\.?0+$/, "") : text).replace(/^-0$/, "0");
}

/** Ticks of a logarithmic axis are of many sizes: each is written by itself, the odd ones at the ends only when there are no others. */
export function logLabels(values: readonly (number | null)[]): string[] {
  const round = (value: number) => /^[125](e|$)/.test(value.toExponential(5).replace(/\.?0*(?=e)/, ""));
  const some = values.some((value) => value !== null && round(value));
  return values.map((value) => (value === null || (some && !round(value)) ? "" : compact(value)));
}
