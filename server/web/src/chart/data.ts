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
  /** only the rows that a resumed run took back */
  rewound?: boolean;
}

const MARKS = { nan: "NaN", inf: "+Inf", "-inf": "-Inf" } as const;

/** A curve of the answer as a chart keeps it. */
export function points(curve: CurveAnswer): Points {
  return {
    run: curve.run,
    key: curve.key,
    x: curve.x,
    min: curve.min,
    max: curve.max,
    mean: curve.mean,
    last: curve.last,
    count: curve.count,
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
  signal: AbortSignal | undefined;
  resolve: (loaded: Loaded) => void;
  reject: (error: unknown) => void;
}

type Request = Omit<HistoryRequest, "keys">;

/** Who waits, the first one first, by what requests share that differ in their keys only. */
const queue = new Map<string, { request: Request; waiting: Waiting[] }>();
/** One answer for a few charts is quick, and its arrival does not hold up a frame; one of many keeps the first chart waiting. */
const KEYS_MOST = 4;
const CURVES_MOST = 40;
/** The server reads one after the other; what waits here can still be given up when its chart is scrolled away. */
const REQUESTS_MOST = 2;
let running = 0;
let timer: ReturnType<typeof setTimeout> | undefined;

/** The points of one key of several runs. signal: nobody wants them any more. */
export function load(wanted: Wanted, signal?: AbortSignal): Promise<Loaded> {
  const { x, range, buckets, writer, rewound = false } = wanted;
  return ask({ runs: [...wanted.runs], x, range, buckets, width: null, after: null, writer, rewound }, wanted, signal);
}

/** What runs have logged since; the same object when there is nothing new. Where rows were taken back it begins anew. */
export async function follow(loaded: Loaded, wanted: Wanted, runs: readonly string[], signal?: AbortSignal): Promise<Loaded> {
  const after: Record<string, string> = {};
  for (const run of [...runs].sort()) {
    const mark = loaded.watermarks[run];
    if (mark !== undefined) after[run] = mark;
  }
  const known = Object.keys(after);
  if (known.length === 0) return load(wanted, signal);
  const { x, range, buckets, writer } = wanted;
  const width = loaded.width > 0 ? loaded.width : null;
  const more = await ask({ runs: known, x, range, buckets, width, after, writer, rewound: false }, { ...wanted, runs: known }, signal);
  const series = new Map(loaded.series);
  for (const [run, fresh] of more.series) {
    const old = series.get(run);
    series.set(run, old && fresh.delta ? joined(old, fresh, loaded.width) : fresh);
  }
  const size = Math.max(0, ...[...series.values()].map((each) => each.x.length));
  // The run has grown: the grid is made anew for what there is now.
  if (size > buckets * 2.5) return load(wanted, signal);
  return { width: loaded.width, low: loaded.low ?? more.low, series, watermarks: { ...loaded.watermarks, ...more.watermarks } };
}

function ask(request: Request, wanted: Wanted, signal: AbortSignal | undefined): Promise<Loaded> {
  const group = JSON.stringify(request);
  return new Promise((resolve, reject) => {
    const one: Waiting = { wanted, signal, resolve, reject };
    const same = queue.get(group);
    if (same) same.waiting.push(one);
    else queue.set(group, { request, waiting: [one] });
    timer ??= setTimeout(() => ((timer = undefined), next()), 8);
  });
}

/** Send what may be sent now. */
function next(): void {
  for (const [group, { request, waiting }] of queue) {
    if (running >= REQUESTS_MOST) return;
    const wanted = waiting.filter((each) => !each.signal?.aborted);
    for (const each of waiting) if (each.signal?.aborted) each.reject(each.signal.reason);
    const size = Math.max(1, Math.min(KEYS_MOST, Math.floor(CURVES_MOST / request.runs.length)));
    const sent = wanted.splice(0, size);
    if (wanted.length) queue.set(group, { request, waiting: wanted });
    else queue.delete(group);
    if (sent.length) void send(request, sent);
  }
  if (queue.size && running < REQUESTS_MOST) next();
}

async function send(request: Request, waiting: Waiting[]): Promise<void> {
  running++;
  const abort = new AbortController();
  const gone = () => {
    if (waiting.every((each) => each.signal?.aborted)) abort.abort();
  };
  for (const each of waiting) each.signal?.addEventListener("abort", gone);
  try {
    const keys = [...new Set(waiting.map((each) => each.wanted.key))];
    const answer = await api.history({ ...request, keys }, abort.signal);
    for (const { wanted, resolve } of waiting) resolve(only(answer, wanted.key));
  } catch (error) {
    for (const { reject } of waiting) reject(error);
  } finally {
    for (const each of waiting) each.signal?.removeEventListener("abort", gone);
    running--;
    next();
  }
}

function only(answer: HistoryAnswer, key: string): Loaded {
  const series = new Map<string, Points>();
  for (const curve of answer.series) if (curve.key === key) series.set(curve.run, points(curve));
  return { width: answer.width, low: answer.range?.[0] ?? null, series, watermarks: answer.watermarks };
}
