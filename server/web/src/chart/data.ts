/** Where charts get their points: one request for all charts that ask at the same time, kept, and from then on only what is new. */

import { api } from "../api/client";
import type { CurveAnswer, HistoryAnswer, HistoryRequest } from "../api/model";

/** A series as arrays; NaN where there is no finite value. */
export interface Points {
  run: string;
  key: string;
  x: Float64Array;
  min: Float64Array;
  max: Float64Array;
  mean: Float64Array;
  last: Float64Array;
  count: Float64Array;
  marks: { x: number; what: "NaN" | "+Inf" | "-Inf"; n: number }[];
  exact: boolean;
  points: number;
  buckets: number;
  delta: boolean;
}

/** The points of one key of several runs, and how far each run was known then. */
export interface Loaded {
  width: number;
  /** lowest x of all points: buckets stand at the x of their last one */
  low: number | null;
  series: Map<string, Points>;
  watermarks: Record<string, string>;
}

export interface Wanted {
  /** "project/run" each */
  runs: readonly string[];
  key: string;
  x: string;
  range: [number, number] | null;
  buckets: number;
  /** null: the lowest rank speaks for the run */
  writer: "all" | null;
}

const MARKS = { nan: "NaN", inf: "+Inf", "-inf": "-Inf" } as const;

function array(values: readonly (number | null)[]): Float64Array {
  const out = new Float64Array(values.length);
  for (let i = 0; i < out.length; i++) out[i] = values[i] ?? NaN;
  return out;
}

/** A curve of the answer as arrays, in the order of x. */
export function points(curve: CurveAnswer): Points {
  return {
    run: curve.run,
    key: curve.key,
    x: array(curve.x),
    min: array(curve.min),
    max: array(curve.max),
    mean: array(curve.mean),
    last: array(curve.last),
    count: array(curve.count),
    marks: Object.entries(curve.marks).flatMap(([name, list]) =>
      list.map(([x, n]) => ({ x, n, what: MARKS[name as keyof typeof MARKS] ?? ("NaN" as const) })),
    ),
    exact: curve.aggregated.exact,
    points: curve.aggregated.points,
    buckets: curve.aggregated.buckets,
    delta: curve.delta,
  };
}

/** What is known, and what came after it, as one. A bucket that both have a part of is put together; width 0: never. */
export function joined(old: Points, more: Points, width: number): Points {
  if (more.x.length === 0) return old;
  if (old.x.length === 0) return more;
  const n = old.x.length;
  const bucket = (x: number) => Math.floor(x / width);
  // The new points stand behind the old ones, or begin in the last bucket of them.
  const shared = width > 0 && bucket(old.x[n - 1]!) === bucket(more.x[0]!) ? 1 : 0;
  const size = n + more.x.length - shared;
  const names = ["x", "min", "max", "mean", "last", "count"] as const;
  const out = { ...more } as Points;
  for (const name of names) {
    const values = new Float64Array(size);
    values.set(old[name]);
    values.set(shared ? more[name].subarray(1) : more[name], n);
    out[name] = values;
  }
  if (shared) {
    const i = n - 1;
    out.x[i] = more.x[0]!;
    out.min[i] = smaller(old.min[i]!, more.min[0]!);
    out.max[i] = -smaller(-old.max[i]!, -more.max[0]!);
    const [a, b] = [old.count[i]!, more.count[0]!];
    const [ma, mb] = [old.mean[i]!, more.mean[0]!];
    out.mean[i] = Number.isNaN(ma) ? mb : Number.isNaN(mb) ? ma : (ma * a + mb * b) / (a + b);
    out.last[i] = Number.isNaN(more.last[0]!) ? old.last[i]! : more.last[0]!;
    out.count[i] = a + b;
  }
  out.marks = [...old.marks, ...more.marks];
  out.points = old.points + more.points;
  out.buckets = size;
  out.exact = old.exact && more.exact && !shared;
  return out;
}

function smaller(a: number, b: number): number {
  if (Number.isNaN(a)) return b;
  if (Number.isNaN(b)) return a;
  return Math.min(a, b);
}

interface Waiting {
  wanted: Wanted;
  resolve: (loaded: Loaded) => void;
  reject: (error: unknown) => void;
}

/** Requests of one moment that differ in their keys only, by all that they share. */
const queue = new Map<string, { request: Omit<HistoryRequest, "keys">; waiting: Waiting[] }>();
let scheduled = false;
/** One answer for many charts is quick; one of too many curves keeps the first chart waiting. */
const KEYS_MOST = 8;
const CURVES_MOST = 100;

/** The points of one key of several runs. */
export function load(wanted: Wanted): Promise<Loaded> {
  const { x, range, buckets, writer } = wanted;
  return ask({ runs: [...wanted.runs], x, range, buckets, width: null, after: null, writer }, wanted);
}

/** What runs have logged since; the same object when there is nothing new. Where rows were taken back it begins anew. */
export async function follow(loaded: Loaded, wanted: Wanted, runs: readonly string[]): Promise<Loaded> {
  const after: Record<string, string> = {};
  for (const run of [...runs].sort()) {
    const mark = loaded.watermarks[run];
    if (mark !== undefined) after[run] = mark;
  }
  const known = Object.keys(after);
  if (known.length === 0) return load(wanted);
  const { x, range, buckets, writer } = wanted;
  const width = loaded.width > 0 ? loaded.width : null;
  const more = await ask({ runs: known, x, range, buckets, width, after, writer }, { ...wanted, runs: known });
  const series = new Map(loaded.series);
  for (const [run, fresh] of more.series) {
    const old = series.get(run);
    series.set(run, old && fresh.delta ? joined(old, fresh, loaded.width) : fresh);
  }
  const size = Math.max(0, ...[...series.values()].map((each) => each.x.length));
  // The run has grown: the grid is made anew for what there is now.
  if (size > buckets * 2.5) return load(wanted);
  return { width: loaded.width, low: loaded.low ?? more.low, series, watermarks: { ...loaded.watermarks, ...more.watermarks } };
}

function ask(request: Omit<HistoryRequest, "keys">, wanted: Wanted): Promise<Loaded> {
  const group = JSON.stringify(request);
  return new Promise((resolve, reject) => {
    const one = { wanted, resolve, reject };
    const same = queue.get(group);
    if (same) same.waiting.push(one);
    else queue.set(group, { request, waiting: [one] });
    if (!scheduled) {
      scheduled = true;
      setTimeout(flush, 8);
    }
  });
}

function flush(): void {
  scheduled = false;
  for (const { request, waiting } of queue.values()) {
    const size = Math.max(1, Math.min(KEYS_MOST, Math.floor(CURVES_MOST / request.runs.length)));
    for (let i = 0; i < waiting.length; i += size) void send(request, waiting.slice(i, i + size));
  }
  queue.clear();
}

async function send(request: Omit<HistoryRequest, "keys">, waiting: Waiting[]): Promise<void> {
  try {
    const keys = [...new Set(waiting.map((each) => each.wanted.key))];
    const answer = await api.history({ ...request, keys });
    for (const { wanted, resolve } of waiting) resolve(only(answer, wanted.key));
  } catch (error) {
    for (const { reject } of waiting) reject(error);
  }
}

function only(answer: HistoryAnswer, key: string): Loaded {
  const series = new Map<string, Points>();
  for (const curve of answer.series) if (curve.key === key) series.set(curve.run, points(curve));
  return { width: answer.width, low: answer.range?.[0] ?? null, series, watermarks: answer.watermarks };
}
