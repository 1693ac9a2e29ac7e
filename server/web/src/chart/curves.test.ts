import { readFileSync } from "node:fs";
import { describe as suite, expect, test } from "vitest";
import { ago, bytes, compact, duration, number } from "../format";
import { byValue, matcher, searchWord, sections } from "../sections";
import { tile } from "../media/tiles";
import { parse, path, queryText } from "../url";
import { at, clippedRange, csv, type Curve, describe, mean, nearest, quoted, range, smooth, words } from "./curves";

function curve(y: number[], x = y.map((_, i) => i), label = "a"): Curve {
  const ys = Float64Array.from(y);
  return { id: label, label, x: Float64Array.from(x), y: ys, min: ys, max: ys, banded: false };
}

suite("the mean of a group", () => {
  test("is what the server says, to the last digit", () => {
    type Columns = Record<"x" | "y" | "mean" | "low" | "high" | "std", (number | null)[]>;
    const file = new URL("../../../../tests/server/grouping.json", import.meta.url);
    const { places, curves, expected } = JSON.parse(readFileSync(file, "utf8")) as { places: number; curves: Columns[]; expected: Columns };
    const floats = (values: (number | null)[]) => values.map((value) => value ?? NaN);
    const given = curves.map((one) => curve(floats(one.y), floats(one.x)));
    const band = mean("a", "a", given, "minmax", places);
    expect([...band.x]).toEqual(expected.x);
    expect([...band.y]).toEqual(floats(expected.mean));
    expect([...band.min]).toEqual(floats(expected.low));
    expect([...band.max]).toEqual(floats(expected.high));
    const spread = mean("a", "a", given, "std", places);
    expect([...spread.max]).toEqual(expected.mean.map((value, i) => (value === null ? NaN : value + expected.std[i]!)));
  });
});

suite("smoothing", () => {
  test("keeps a constant line where it is, from its first point on", () => {
    const { x, y } = curve([3, 3, 3, 3, 3]);
    for (const value of smooth(x, y, 0.9)) expect(value).toBeCloseTo(3, 12);
  });
  test("passes over holes and keeps them", () => {
    const { x, y } = curve([1, NaN, 1, 1]);
    const out = smooth(x, y, 0.5);
    expect(out[1]).toBeNaN();
    expect(out[2]).toBeCloseTo(1, 12);
  });
  test("of weight 0 is the curve itself", () => {
    const { x, y } = curve([1, 5, 2]);
    expect(smooth(x, y, 0)).toBe(y);
  });
});

suite("ranges", () => {
  test("without outliers are counted in powers on a logarithmic axis", () => {
    const one = curve(Array.from({ length: 1000 }, (_, i) => (i === 500 ? 1e9 : 10 ** (-i / 250))));
    const [low, high] = clippedRange([one], -Infinity, Infinity, true)!;
    expect(low).toBeLessThan(1.1e-4);
    expect(high).toBeLessThan(20);
  });
  test("pass over NaN and see the envelope", () => {
    const one = { ...curve([1, NaN, 2]), min: Float64Array.from([0, NaN, 1]), max: Float64Array.from([4, NaN, 5]) };
    expect(range([one])).toEqual([0, 5]);
    expect(range([one], -Infinity, Infinity, false)).toEqual([1, 2]);
    expect(range([curve([NaN])])).toBeNull();
  });
  test("without outliers leave a single spike out", () => {
    const values = Array.from({ length: 500 }, (_, i) => Math.sin(i));
    values[250] = 1e6;
    expect(clippedRange([curve(values)])![1]).toBeLessThan(3);
  });
  test("of a logarithmic axis begin above zero", () => {
    expect(range([curve([-1, 0, 0.5, 2])], -Infinity, Infinity, true, true)).toEqual([0.5, 2]);
  });
});

suite("reading a curve", () => {
  test("finds the nearest point that is not a hole", () => {
    expect(nearest(curve([1, NaN, 3]), 1.1)).toBe(2);
    expect(nearest(curve([1, 2, 3]), 50)).toBe(-1);
    expect(nearest(curve([]), 1)).toBe(-1);
  });
  test("goes in a straight line between points", () => {
    expect(at(curve([0, 10], [0, 10]), 2.5)).toBe(2.5);
    expect(at(curve([0, 10]), 5)).toBeNaN();
  });
  test("describes first, last and extremes", () => {
    expect(describe(curve([2, 1, 5, 3]))).toMatchObject({ first: 2, last: 3, min: 1, minAt: 1, max: 5, maxAt: 2, n: 4 });
    expect(words("loss", "step", [curve([2, 1])])).toContain("a falls from 2 to 1");
    expect(words("loss", "step", [curve([NaN])])).toBe("loss: no points yet.");
  });
});

test("the mean of a group stands between its curves, with their spread as band", () => {
  const group = mean("g", "g", [curve([0, 0, 0]), curve([2, 4, 6])]);
  expect([...group.y]).toEqual([1, 2, 3]);
  expect([...group.max]).toEqual([2, 4, 6]);
});

test("a table of curves has one row per x, and empty cells where a curve has none", () => {
  expect(csv("step", [curve([1, 2], [0, 1], "a"), curve([5], [1], "b,c")])).toBe('step,a,"b,c"\n0,1,\n1,2,5\n');
  expect(quoted("=HYPERLINK(1)")).toBe("'=HYPERLINK(1)");
  expect(quoted("-5")).toBe("-5");
});

suite("formats", () => {
  test("numbers", () => {
    expect([number(0.123456), number(1e-7), number(12345678), number(NaN), number(-Infinity), number(3)]).toEqual([
      "0.12346", "1e-7", "12 345 678", "NaN", "−∞", "3",
    ]);
    expect([compact(1500000), compact(25000), compact(0.25), compact(0)]).toEqual(["1.5M", "25k", "0.25", "0"]);
  });
  test("times and sizes", () => {
    expect([duration(0.4), duration(200), duration(18720), ago(100, 400), bytes(3400)]).toEqual(["0.4 s", "3 m 20 s", "5 h 12 m", "5 m", "3.4 kB"]);
  });
});

suite("pictures in a card", () => {
  test("one takes its width or its height, several stand in rows", () => {
    expect(tile(1, { width: 300, height: 200 }, 1, 0)).toBe(200);
    expect(tile(1, { width: 300, height: 200 }, 4, 0)).toBe(300);
    expect(tile(8, { width: 424, height: 218 }, 1, 0)).toBe(101);
    expect(tile(900, { width: 300, height: 200 }, 1, 18)).toBe(44);
  });
});

suite("sections", () => {
  test("of a search the server looks for the longest word, and for none of an expression", () => {
    expect(["loss layer12/w ", "", "/la.*12/"].map(searchWord)).toEqual(["layer12/w", "", ""]);
  });
  test("show curves before media", () => {
    const mixed = [{ name: "a", kind: "image-file" }, { name: "b", kind: "scalar" }, { name: "c", kind: "histogram" }, { name: "d", kind: "mapping" }];
    expect(sections(mixed)[0]!.keys.map((key) => key.name)).toEqual(["b", "d", "a", "c"]);
  });
  const keys = ["loss", "train/loss10", "train/loss2", "train.acc", "system.cpu.utilization", "a/b/c"].map((name) => ({ name, kind: "scalar", n: 1 }));
  test("go by the first separator, the machine's own last, numbers in their order", () => {
    expect(sections(keys).map((one) => [one.name, one.keys.map((key) => key.name)])).toEqual([
      ["metrics", ["loss"]],
      ["train", ["train.acc", "train/loss2", "train/loss10"]],
      ["a", ["a/b/c"]],
      ["system", ["system.cpu.utilization"]],
    ]);
  });
  test("the table beside a chart has no panel of its own", () => {
    const kinds = { roc: "chart-file", roc_table: "table-file", "a/pr_table": "table-file", b: "chart-file", b_table: "scalar" };
    const some = Object.entries(kinds).map(([name, kind]) => ({ name, kind, n: 1 }));
    expect(sections(some).flatMap((one) => one.keys.map((key) => key.name))).toEqual(["b_table", "b", "roc", "a/pr_table"]);
  });
  test("groups stand in the order of the numbers in their values", () => {
    expect(["lr=0.01", "lr=0.001", "lr=1e-4", "lr=0.3"].sort(byValue)).toEqual(["lr=1e-4", "lr=0.001", "lr=0.01", "lr=0.3"]);
    expect(["10", "-2", "9.5", "(none)"].sort(byValue)).toEqual(["-2", "9.5", "10", "(none)"]);
    expect(["vit-b", "resnet50", "resnet18"].sort(byValue)).toEqual(["resnet18", "resnet50", "vit-b"]);
  });
  test("search takes words in any order, or a regular expression", () => {
    expect(matcher("loss TRAIN")("train/loss")).toBe(true);
    expect(matcher("/^loss$/")("train/loss")).toBe(false);
    expect(matcher("/[/")("anything")).toBe(false);
  });
});

suite("addresses", () => {
  test("read back as they were written, whatever the names hold", () => {
    for (const name of ["a b", "ä/ö", "<script>", "50%", ".."]) {
      const page = { name: "run", project: name, run: name, tab: "console" } as const;
      expect(parse(path(page), "").page).toEqual(page);
    }
    expect(parse("/p/%E0%A4%A", "").page.name).toBe("unknown");
  });
  test("stay readable", () => {
    expect(queryText(new URLSearchParams({ q: "a:b,c/d" }))).toBe("?q=a:b,c/d");
  });
});
