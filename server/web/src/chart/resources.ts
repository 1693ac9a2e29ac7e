/** What the machine did while a run ran, as curves: shares in percent, bytes in units that fit, counters as what they grew by a second. */

import type { Curve } from "./curves";

export type Sample = Record<string, unknown>;

export interface Resource {
  /** OpenTelemetry's name */
  name: string;
  unit: string;
  curve: Curve;
}

const COUNTERS = /\.io\.|\.io$/;
const BYTES = /(^|\.)memory\.(usage|virtual|free|limit)|\.memory\.used|\.io\.|_bytes$/;
const SHARES = /utilization/;

/** One curve for each name, over the seconds since the run began. The program's own first. */
export function resources(samples: readonly Sample[]): Resource[] {
  const found = new Map<string, { x: number[]; y: number[] }>();
  for (const sample of samples) {
    const at = sample._runtime;
    if (typeof at !== "number") continue;
    for (const [name, value] of Object.entries(sample)) {
      if (name.startsWith("_") || typeof value !== "number" || !Number.isFinite(value)) continue;
      let one = found.get(name);
      if (!one) found.set(name, (one = { x: [], y: [] }));
      one.x.push(at);
      one.y.push(value);
    }
  }
  return [...found].map(([name, { x, y }]) => shown(name, x, y)).sort((a, b) => rank(a.name) - rank(b.name) || (a.name < b.name ? -1 : 1));
}

function shown(name: string, x: number[], y: number[]): Resource {
  let unit = "";
  if (COUNTERS.test(name)) {
    [x, y] = rates(x, y);
    unit = "/s";
  }
  let scale = 1;
  if (SHARES.test(name)) {
    scale = 100;
    unit = "%";
  } else if (BYTES.test(name)) {
    const most = y.reduce((a, b) => (b > a ? b : a), 0);
    const [size, prefix] = ([[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]] as const).find(([one]) => most >= one) ?? [1, "B"];
    scale = 1 / size;
    unit = prefix + unit;
  }
  const ys = Float64Array.from(y, (value) => value * scale);
  return { name, unit, curve: { id: name, label: name, x: Float64Array.from(x), y: ys, min: ys, max: ys, banded: false } };
}

/** What a counter grew by a second. One that begins anew, with a resumed program, leaves a hole. */
function rates(x: readonly number[], y: readonly number[]): [number[], number[]] {
  const at: number[] = [];
  const rate: number[] = [];
  for (let i = 1; i < x.length; i++) {
    const seconds = x[i]! - x[i - 1]!;
    if (!(seconds > 0)) continue;
    at.push(x[i]!);
    rate.push(y[i]! < y[i - 1]! ? NaN : (y[i]! - y[i - 1]!) / seconds);
  }
  return [at, rate];
}

function rank(name: string): number {
  const first = ["hw.gpu", "gpu", "process", "milepost.process", "system"];
  const at = first.findIndex((prefix) => name.startsWith(prefix));
  return at < 0 ? first.length : at;
}
