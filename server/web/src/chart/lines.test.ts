import { describe as suite, expect, test } from "vitest";
import type { Loaded, Points } from "./data";
import { type How, linesOf, noteOf, type Runs, xRangeOf } from "./lines";

function points(run: string, y: number[], more: Partial<Points> = {}): Points {
  const [x, values] = [Float64Array.from(y.keys()), Float64Array.from(y)];
  return { run: `p/${run}`, key: "loss", x, min: values, max: values, mean: values, last: values, count: x, marks: [], exact: true, points: y.length, buckets: y.length, delta: false, ...more };
}
const loaded = (...all: Points[]): Loaded => ({ width: 0, low: 0, series: new Map(all.map((one) => [one.run, one])), watermarks: {} });
const colours = { of: (id: string, alpha?: number) => `${id} ${alpha}`, ofGroup: (value: string) => value, dash: () => [] };
const runs = (shown: string[], groupOf: ((id: string) => string) | null = null): Runs => ({
  name: "p", shown, shownSet: new Set(shown), group: groupOf && "config.x", colours,
  path: (id) => `p/${id}`, label: (id) => `run ${id}`, groupOf: (id) => (groupOf ? { key: groupOf(id), label: groupOf(id) } : null),
});
const HOW: How = { line: "mean", smooth: 0, spread: "minmax" };
const PLAIN = { ...HOW, group: false, runs: 12, drawn: 12, envelope: true, clip: false, ranks: false, rewound: false, belowLog: false, large: false };

suite("lines", () => {
  test("are those of the shown runs that have points, in their order", () => {
    const lines = linesOf(loaded(points("b", [1]), points("a", [2]), points("c", [])), null, runs(["a", "b", "c", "d"]), HOW);
    expect(lines.map((line) => [line.label, line.raw])).toEqual([["run a", null], ["run b", null]]);
  });
  test("smoothed have the line as logged behind them", () => {
    const [line] = linesOf(loaded(points("a", [0, 1, 0, 1])), null, runs(["a"]), { ...HOW, smooth: 0.9 });
    expect([...line!.raw!.y]).toEqual([0, 1, 0, 1]);
    expect(line!.curve.y[3]).not.toBe(1);
  });
  test("of groups are their means", () => {
    const lines = linesOf(loaded(points("a", [1, 1]), points("b", [3, 3]), points("c", [7, 7])), null, runs(["a", "b", "c"], (id) => (id === "c" ? "one" : "two")), HOW);
    expect(lines.map((line) => [line.id, line.curve.y[0]])).toEqual([["two", 2], ["one", 7]]);
  });
  test("of what was taken back are there for shown runs only, and not smoothed", () => {
    const lines = linesOf(loaded(points("a", [1])), loaded(points("a", [5]), points("z", [6])), runs(["a"]), { ...HOW, smooth: 0.9 });
    expect(lines.map((line) => line.label)).toEqual(["run a", "run a, rewound"]);
    expect(lines[1]!.raw).toBeNull();
  });
  test("reach from the first point to the last; a logarithmic axis begins above zero", () => {
    const lines = linesOf(loaded(points("a", [1, 2, 3])), null, runs(["a"]), HOW);
    expect(xRangeOf(lines, -5, "linear")).toEqual([-5, 2]);
    expect(xRangeOf(lines, -5, "log")).toEqual([1, 2]);
    expect(xRangeOf([], null, "linear")).toBeNull();
  });
});

suite("the note of a chart", () => {
  test("says nothing when nothing was done", () => {
    expect(noteOf(loaded(points("a", [1])), PLAIN)).toBe("");
    expect(noteOf(loaded(points("a", [1])), { ...PLAIN, large: true })).toBe("1 point, none left out");
  });
  test("says that a logarithmic axis has no place for zero and below", () => {
    expect(noteOf(loaded(points("a", [0, 1])), { ...PLAIN, belowLog: true })).toBe("values up to zero not drawn");
  });
  test("says what stands behind each point, and what is left out", () => {
    const many = points("a", [1, 2], { exact: false, points: 2000, buckets: 2, marks: [{ x: 0, what: "NaN", n: 3 }] });
    expect(noteOf(loaded(many), { ...PLAIN, smooth: 0.5, clip: true })).toBe("mean of each ~1000 points, min–max shaded · smoothed 0.5 · outliers clipped · 3 × NaN or ∞");
    expect(noteOf(loaded(many), { ...PLAIN, group: true, spread: "std" })).toContain("mean of groups, ± 1 standard deviation shaded · mean of each");
    expect(noteOf(loaded(many), { ...PLAIN, group: true, runs: 110 })).toContain("mean of groups over 12 of 110 runs, min–max shaded");
  });
});
