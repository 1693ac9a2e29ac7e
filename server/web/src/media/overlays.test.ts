import { expect, test } from "vitest";
import { boxesOf, legendOf, masksOf } from "./overlays";

const SIZE = { width: 200, height: 100 };
const box = (position: object, more: object = {}) => boxesOf({ box_data: [{ position, class_id: 1, ...more }] }, "truth", { 1: "car" }, SIZE)[0]!;
const near = (a: { left: number; top: number; width: number; height: number }) => [a.left, a.top, a.width, a.height].map((value) => Number(value.toFixed(6)));

test("a box is where it was logged: by corners or its middle, in shares or in pixels", () => {
  expect(near(box({ minX: 0.1, maxX: 0.3, minY: 0.2, maxY: 0.6 }))).toEqual([0.1, 0.2, 0.2, 0.4]);
  expect(near(box({ middle: [0.5, 0.5], width: 0.2, height: 0.4 }))).toEqual([0.4, 0.3, 0.2, 0.4]);
  expect(near(box({ minX: 20, maxX: 60, minY: 20, maxY: 60 }, { domain: "pixel" }))).toEqual([0.1, 0.2, 0.2, 0.4]);
});

test("its label is its caption or its class, and the first score", () => {
  expect(box({}, { scores: { sure: 0.876, other: 1 } })).toMatchObject({ label: "car 0.88", name: "truth: car" });
  expect(box({}, { box_caption: "mine" }).label).toBe("mine");
  expect(box({}, { class_id: 7 }).label).toBe("class 7");
  expect(boxesOf(null, "truth", {}, SIZE)).toEqual([]);
});

test("classes of boxes and masks are listed once each, the ground not", () => {
  const masks = masksOf({ masks: { parts: { path: "m.png", class_labels: { 0: "ground", 2: "sky" } }, gone: null } }, "p", "r");
  expect(masks.map((mask) => mask.url)).toEqual(["/api/v1/runs/p/r/files/m.png"]);
  expect(legendOf([box({}), box({})], masks).map(([name]) => name)).toEqual(["truth: car", "parts: sky"]);
});
