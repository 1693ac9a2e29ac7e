import { expect, test } from "vitest";
import { Scales } from "./scales";

const LINEAR = { xKind: "linear", yLog: false } as const;
const BOX = { left: 10, top: 20, width: 100, height: 50 };

test("a line that never goes below zero has no room below zero", () => {
  expect(new Scales({ x: [0, 9], y: [0.01, 1], ...LINEAR }).y[0]).toBe(0);
  expect(new Scales({ x: [0, 9], y: [-1, 1], ...LINEAR }).y[0]).toBeLessThan(-1);
});

test("one value has room on both sides", () => {
  const { x, y } = new Scales({ x: [5, 5], y: [2, 2], ...LINEAR });
  expect(x).toEqual([4.5, 5.5]);
  expect(y).toEqual([1.8, 2.2]);
});

test("values stand in the box, the greatest y at its top", () => {
  const scales = new Scales({ x: [0, 10], y: [-1, 1], ...LINEAR });
  expect(scales.toX(BOX)(5)).toBe(60);
  expect(scales.toY(BOX)(scales.y[1])).toBe(20);
  expect(scales.toY(BOX)(scales.y[0])).toBe(70);
});

test("on logarithmic axes ratios are distances", () => {
  const scales = new Scales({ x: [1, 100], y: [1, 100], xKind: "log", yLog: true });
  expect(scales.toX(BOX)(10)).toBeCloseTo(60);
  expect(scales.toY(BOX)(0)).toBe(Infinity);
});

test("uPlot is told no number of more digits than it takes", () => {
  const scales = new Scales({ x: [0, 1], y: [1e300, 2e300], ...LINEAR });
  expect(Math.max(...scales.yTold)).toBeLessThan(100);
});
