/** From the points of runs to the lines of a chart: smoothed, grouped, coloured; and what was done to the points, in words. */

import { grouped, number } from "../format";
import { type Curve, mean, smooth } from "./curves";
import type { Loaded, Points } from "./data";
import type { Line, XKind } from "./look";

/** What the lines need to know of the runs that are drawn. */
export interface Runs {
  readonly name: string;
  readonly shown: readonly string[];
  readonly shownSet: ReadonlySet<string>;
  /** the value that runs are grouped by */
  readonly group: string | null;
  readonly colours: { of(id: string, alpha?: number): string; ofGroup(key: string, alpha?: number): string; dash(id: string): readonly number[] };
  path(id: string): string;
  label(id: string): string;
  /** the group of a run; null while it is not known */
  groupOf(id: string): { key: string; label: string } | null;
}

export interface How {
  /** which of a bucket's values */
  line: "mean" | "last" | "min" | "max";
  /** 0: not smoothed */
  smooth: number;
  spread: "minmax" | "std";
}

/** One line for each run, or for each group: its mean with a band; what was taken back stands behind, dotted. */
export function linesOf(loaded: Loaded, taken: Loaded | null, runs: Runs, how: How): Line[] {
  const curve = (points: Points, label: string): Curve => ({ id: points.run, label, x: points.x, y: points[how.line], min: points.min, max: points.max, banded: !points.exact });
  const line = (raw: Curve, id: string, rest: Pick<Line, "colour" | "dash" | "marks">): Line => {
    const smoothed = how.smooth > 0 ? { ...raw, y: smooth(raw.x, raw.y, how.smooth) } : raw;
    return { id, label: raw.label, curve: smoothed, raw: smoothed === raw ? null : raw, ...rest };
  };
  if (runs.group !== null) {
    const groups = new Map<string, { label: string; curves: Curve[] }>();
    for (const id of runs.shown) {
      const points = loaded.series.get(runs.path(id));
      const group = runs.groupOf(id);
      if (!points || group === null) continue;
      const { key, label } = group;
      const one = groups.get(key) ?? { label, curves: [] };
      one.curves.push(curve(points, label));
      groups.set(key, one);
    }
    return [...groups].map(([key, { label, curves }]) => line(mean(key, label, curves, how.spread), key, { colour: (alpha = 1) => runs.colours.ofGroup(key, alpha), dash: [], marks: [] }));
  }
  const found: Line[] = [];
  for (const id of runs.shown) {
    const points = loaded.series.get(runs.path(id));
    if (points?.x.length) found.push(line(curve(points, runs.label(id)), id, { colour: (alpha = 1) => runs.colours.of(id, alpha), dash: runs.colours.dash(id), marks: points.marks }));
  }
  for (const points of taken?.series.values() ?? []) {
    const id = points.run.slice(runs.name.length + 1);
    if (points.x.length === 0 || !runs.shownSet.has(id)) continue;
    const gone: Curve = { ...curve(points, `${runs.label(id)}, rewound`), banded: false };
    found.push({ id: `${id}\nrewound`, label: gone.label, curve: gone, raw: null, colour: (alpha = 1) => runs.colours.of(id, alpha * 0.6), dash: [1, 4], marks: [] });
  }
  return found;
}

/** From the first to the last x of the lines; low: of all points, as a bucket stands at the x of its last one. */
export function xRangeOf(lines: readonly Line[], low: number | null, kind: XKind): [number, number] | null {
  let from = kind !== "log" && low !== null ? low : Infinity;
  let to = -Infinity;
  for (const { curve } of lines) {
    if (curve.x.length === 0) continue;
    let i = 0;
    if (kind === "log") while (i < curve.x.length && curve.x[i]! <= 0) i++;
    if (i < curve.x.length) from = Math.min(from, curve.x[i]!);
    to = Math.max(to, curve.x[curve.x.length - 1]!);
  }
  return from <= to ? [from, to] : null;
}

/** What was done to the points, in words. runs: that the groups have; a mean over some of them is not that of the group. */
export function noteOf(loaded: Loaded, how: How & { group: boolean; runs: number | null; drawn: number; envelope: boolean; clip: boolean; ranks: boolean; rewound: boolean; belowLog: boolean; large: boolean }): string {
  const all = [...loaded.series.values()];
  if (all.length === 0) return "";
  const sum = (of: (points: Points) => number) => all.reduce((total, points) => total + of(points), 0);
  const parts: string[] = [];
  const some = how.runs !== null && how.drawn < how.runs ? ` over ${grouped(how.drawn)} of ${grouped(how.runs)} runs` : "";
  if (how.group) parts.push(`mean of groups${some}, ${how.spread === "std" ? "± 1 standard deviation" : "min–max"} shaded`);
  if (all.every((one) => one.exact)) {
    const points = sum((one) => one.points);
    if (how.large) parts.push(`${grouped(points)} ${points === 1 ? "point" : "points"}, none left out`);
  } else {
    const per = sum((one) => one.points) / Math.max(1, sum((one) => one.buckets));
    parts.push(`${how.line} of each ~${number(per, 2)} points${how.envelope && !how.group ? ", min–max shaded" : ""}`);
  }
  if (how.smooth > 0) parts.push(`smoothed ${number(how.smooth, 2)}`);
  if (how.clip) parts.push("outliers clipped");
  if (how.belowLog) parts.push("values up to zero not drawn");
  if (how.ranks) parts.push("all ranks");
  if (how.rewound) parts.push("rewound rows dotted");
  const marks = sum((one) => one.marks.reduce((n, mark) => n + mark.n, 0));
  if (marks) parts.push(`${grouped(marks)} × NaN or ∞`);
  return parts.join(" · ");
}
