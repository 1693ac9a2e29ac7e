import { expect, suite, test } from "vitest";
import { arranged, filled, reordered, resized, spans, spansText } from "./layout";

const natural = ["a", "b", "c", "d"];

suite("the order of panels", () => {
  test("has the placed ones first and forgets those that are gone", () => {
    expect(arranged(natural, ["c", "gone"])).toEqual(["c", "a", "b", "d"]);
  });
  test("keeps no more names than it takes", () => {
    expect(reordered(natural, [], "c", 0)).toEqual(["c"]);
    expect(reordered(natural, [], "a", 1)).toEqual(["b"]);
    expect(reordered(natural, ["c"], "c", 2)).toEqual([]);
    expect(arranged(natural, reordered(natural, [], "a", 3))).toEqual(["b", "c", "d", "a"]);
  });
  test("leaves what was placed in other sections", () => {
    expect(reordered(natural, ["other"], "d", 0)).toEqual(["other", "d"]);
  });
});

suite("the size of panels", () => {
  test("is read back as it was written, whatever the name", () => {
    const found = new Map([["train/loss, \"x\":1x1", [2, 3]]] as [string, [number, number]][]);
    expect(spans(spansText(found))).toEqual(found);
    expect(spans("x:0x0,broken,%E0%A4%A:2x2,y:9x9")).toEqual(new Map([["y", [4, 3]]]));
  });
  test("is forgotten when it is the usual one", () => {
    expect(resized(new Map([["a", [2, 1]]]), "a", [1, 1]).size).toBe(0);
    expect(resized(new Map(), "a", [0, 9]).get("a")).toEqual([1, 3]);
  });
});

suite("the widths of panels", () => {
  const elastic = { wide: 2, elastic: true };
  const chart = { wide: 1, elastic: false };
  test("leave no hole beside those that can be wider", () => {
    expect(filled([elastic, elastic, chart], 3)).toEqual([2, 3, 1]);
    expect(filled([elastic, elastic], 4)).toEqual([2, 2]);
    expect(filled([elastic], 5)).toEqual([5]);
  });
  test("stay what they are where nothing can be wider, and are never more than there are columns", () => {
    expect(filled([chart, chart], 3)).toEqual([1, 1]);
    expect(filled([{ wide: Infinity, elastic: false }, elastic], 1)).toEqual([1, 1]);
  });
});
