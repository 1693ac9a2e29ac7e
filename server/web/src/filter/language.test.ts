import { describe, expect, test } from "vitest";
import { ansi } from "../console";
import { joined, type Points } from "../chart/data";
import { amount, binned, confusion } from "../media/drawing";
import { lenientJson, nearest, parts } from "../media/source";
import { compare } from "../media/tables";
import { completions, effectiveFilter, isComplete, isPlain, written } from "./language";

const columns = [
  { name: "config.lr", kind: "number" },
  { name: "summary.val/loss", kind: "number" },
  { name: "config.my key", kind: "text" },
];
const offered = (text: string) => completions(text, text.length, columns).map((one) => one.text);

describe("the filter", () => {
  test("takes plain words for names, groups, notes and tags", () => {
    expect(isPlain("resnet lr")).toBe(true);
    expect(isPlain('state == "failed"')).toBe(false);
    expect(isPlain("archived")).toBe(false);
    expect(effectiveFilter("resnet")).toContain('name contains "resnet"');
    expect(effectiveFilter("")).toBe("");
    expect(effectiveFilter("config.lr > 1")).toBe("config.lr > 1");
  });
  test("is asked for when it may be at its end, not while it is typed", () => {
    expect(["", "resnet", "config.lr > 0.1", 'tags has "a"', "archived"].map(isComplete)).toEqual([true, true, true, true, true]);
    expect(["config.l", "config.lr >", "config.lr > 0.1 and"].map(isComplete)).toEqual([false, false, false]);
  });
  test("offers fields and columns, then signs, then states, then what connects", () => {
    expect(offered("l")).toContain("config.lr");
    expect(offered("config.lr ")).toContain(">=");
    expect(offered("state == ")).toContain('"running"');
    expect(offered('state == "fa')).toEqual(['failed"']);
    expect(offered("config.lr > 0.1 ")).toEqual(["and", "or"]);
    expect(offered("config.lr > 0.1 and val")).toContain("summary.val/loss");
  });
  test("writes names that have other characters in backquotes", () => {
    expect(written("config.my key")).toBe("`config.my key`");
    expect(written("summary.val/loss")).toBe("summary.val/loss");
  });
});

describe("console text", () => {
  test("keeps colours, leaves out other control sequences, and is never HTML", () => {
    expect(ansi("plain <b>")).toEqual([{ text: "plain <b>", style: "" }]);
    expect(ansi("\x1b[1;31mred\x1b[0m \x1b[2Kend\x1b]0;title\x07")).toEqual([
      { text: "red", style: "a1 a31" },
      { text: " ", style: "" },
      { text: "end", style: "" },
    ]);
    expect(ansi("\x1b[38;5;196mx")).toEqual([{ text: "x", style: "" }]);
  });
});

describe("points that arrive live", () => {
  const points = (x: number[], y: number[], count = x.map(() => 1)): Points => {
    const a = Float64Array.from(y);
    return { run: "r", key: "k", x: Float64Array.from(x), min: a.slice(), max: a.slice(), mean: a.slice(), last: a.slice(), count: Float64Array.from(count), marks: [], exact: true, points: x.length, buckets: x.length, delta: true };
  };
  test("stand behind what is known", () => {
    const both = joined(points([0, 1], [1, 2]), points([2], [3]), 1);
    expect([...both.x]).toEqual([0, 1, 2]);
    expect(both.exact).toBe(true);
    expect(both.points).toBe(3);
  });
  test("join the last bucket when they fall into it", () => {
    const both = joined(points([9, 15], [1, 2], [10, 6]), points([19, 25], [4, 5], [4, 1]), 10);
    expect([...both.x]).toEqual([9, 19, 25]);
    expect([...both.min]).toEqual([1, 2, 5]);
    expect([...both.max]).toEqual([1, 4, 5]);
    expect(both.mean[1]).toBeCloseTo((2 * 6 + 4 * 4) / 10);
    expect([...both.count]).toEqual([10, 10, 1]);
  });
});

describe("media", () => {
  test("the step shown is the last one that is not behind the wanted one", () => {
    expect(nearest([3, 7, 11], 8)).toBe(7);
    expect(nearest([3, 7, 11], 1)).toBe(3);
    expect(nearest([3, 7, 11], null)).toBe(11);
    expect(nearest([], 1)).toBeNull();
  });
  test("a list of pictures is shown as its pictures, each with its own caption and boxes", () => {
    const value = { _type: "images/separated", width: 2, height: 2, files: [{ path: "media/a b.png" }, { path: "c.png" }], captions: ["x", null], all_boxes: [false, { p: {} }] };
    const found = parts("p/q", "r", { type: "images/separated", value, caption: null });
    expect(found.map((one) => [one.url, one.caption, one.value.boxes])).toEqual([
      ["/api/v1/runs/p%2Fq/r/files/media/a%20b.png", "x", undefined],
      ["/api/v1/runs/p%2Fq/r/files/c.png", null, { p: {} }],
    ]);
  });
  test("JSON with NaN is read, texts that say NaN stay", () => {
    expect(lenientJson('[NaN, -Infinity, "NaN", 1]')).toEqual([null, null, "NaN", 1]);
  });
  test("tables sort numbers before texts before nothing", () => {
    expect([null, "b", 2, "a", 10].sort(compare)).toEqual([2, 10, "a", "b", null]);
  });
  test("histograms count every value, matrices every guess", () => {
    expect(binned([1, 2, 3, 4]).reduce((sum, one) => sum + one.value, 0)).toBe(4);
    expect(confusion([["a", "a", 3], ["a", "b", 1]], 0, 1, 2)).toMatchObject({ names: ["a", "b"], counts: [[3, 1], [0, 0]], right: 0.75 });
    expect([null, "", "1.5", true, 2, "a"].map(amount)).toEqual([NaN, NaN, 1.5, 1, 2, NaN]);
  });
});
