/** Round numbers along an axis, and what is written beside them: as many digits as tell neighbours apart, and no more. */

import { compact, duration, number } from "../format";

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

/** Round numbers along a logarithmic axis, at most so many: within a power of ten as on any axis, then 1, 2, 5, then some of the powers. */
export function logTicks([low, high]: readonly [number, number], most: number): number[] {
  if (!(low > 0 && high > low)) return [];
  const [first, last] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
  if (Math.log10(high / low) < 1) return ticks([low, high], most);
  const each = last - first + 1;
  const power = (p: number, factor = 1) => Number(`${factor}e${p}`);
  const fine = Array.from({ length: each + 1 }, (_, i) => [1, 2, 5].map((factor) => power(first - 1 + i, factor))).flat().filter((value) => value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9));
  if (fine.length <= most) return fine;
  const step = Math.max(1, Math.ceil(each / most));
  return Array.from({ length: Math.ceil(each / step) }, (_, i) => power(first + i * step));
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

/** What stands beside the ticks of a logarithmic axis: they are of many sizes, and each is written by itself. */
export function logLabels(values: readonly number[]): string[] {
  return values.length && values[values.length - 1]! / values[0]! < 10 ? labels(values) : values.map(compact);
}

/** Steps between ticks of seconds: 1, 2, 5 of a part of a second, then what divides minutes, hours and days. */
export const SECONDS = [
  ...[-6, -5, -4, -3, -2, -1].flatMap((power) => [1, 2, 5].map((factor) => Number(`${factor}e${power}`))),
  ...[1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200],
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000].map((days) => days * 86400),
];

/** Ticks of times and durations, in seconds, at most so many. */
export function secondTicks([low, high]: readonly [number, number], most: number): number[] {
  const span = high - low;
  const step = SECONDS.find((one) => span / one <= most);
  if (!(span > 0) || step === undefined) return ticks([low, high], most);
  // Days begin where the viewer is, not in Greenwich.
  const offset = low > 1e8 ? new Date(low * 1000).getTimezoneOffset() * 60 : 0;
  const first = Math.ceil((low - offset) / step - 1e-9);
  const last = Math.floor((high - offset) / step + 1e-9);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => Number(((first + i) * step + offset).toPrecision(15)));
}

/** What stands beside durations, in seconds: 10 m, not 10 m 0 s. */
export function durationLabels(values: readonly number[]): string[] {
  return values.map((value) => duration(value).replace(/ 0 [hms]$/, ""));
}

const two = (value: number) => String(value).padStart(2, "0");
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** What stands beside times, in seconds: as much of them as tells neighbours apart; the day where it begins. */
export function timeLabels(values: readonly number[]): string[] {
  const step = values.length > 1 ? values[1]! - values[0]! : 1;
  return values.map((value) => {
    const d = new Date(Math.round(value * 1000));
    const day = `${MONTHS[d.getMonth()]} ${d.getDate()}`;
    const clock = `${two(d.getHours())}:${two(d.getMinutes())}`;
    if (step < 1) return `${two(d.getMinutes())}:${two(d.getSeconds())}.${String(d.getMilliseconds()).padStart(3, "0").slice(0, step < 0.1 ? 3 : 1)}`;
    if (step < 60) return `${clock}:${two(d.getSeconds())}`;
    if (step < 86400) return clock === "00:00" ? day : clock;
    return step < 28 * 86400 ? day : `${MONTHS[d.getMonth()]} ${d.getFullYear()}`;
  });
}
