import { describe as suite, expect, test } from "vitest";
import { durationLabels, labels, logLabels, logTicks, SECONDS, secondTicks, ticks, timeLabels } from "./ticks";

suite("ticks", () => {
  test("of durations divide minutes, hours and days", () => {
    expect(durationLabels([0, 600, 5400, 7200])).toEqual(["0 s", "10 m", "1 h 30 m", "2 h"]);
    expect([...SECONDS].sort((a, b) => a - b)).toEqual(SECONDS);
  });
  test("of times and durations are few, and where clocks are round", () => {
    expect(durationLabels(secondTicks([0, 5000], 7))).toEqual(["0 s", "15 m", "30 m", "45 m", "1 h", "1 h 15 m"]);
    expect(secondTicks([10, 71], 7)).toEqual([10, 20, 30, 40, 50, 60, 70]);
    expect(secondTicks([1, 1], 7)).toEqual([]);
    const noon = new Date(2026, 2, 3, 11, 50).getTime() / 1000;
    expect(timeLabels(secondTicks([noon, noon + 4 * 3600], 7))).toEqual(["12:00", "13:00", "14:00", "15:00"]);
  });
  test("are round, within the range, and few", () => {
    expect(ticks([0, 1], 5)).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
    expect(ticks([-0.13, 0.27], 5)).toEqual([-0.1, 0, 0.1, 0.2]);
    expect(ticks([2e300, 3e300], 4)).toHaveLength(3);
    expect(ticks([1, 1], 5)).toEqual([]);
    expect(logTicks([0.02, 300], 5)).toEqual([0.1, 1, 10, 100]);
    expect(logTicks([0.2, 30], 9)).toEqual([0.2, 0.5, 1, 2, 5, 10, 20]);
    expect(logTicks([1.01e12, 1.29e12], 5)).toEqual([1.1e12, 1.2e12]);
    expect(logTicks([1e-300, 1e300], 4)).toHaveLength(4);
    expect(logTicks([0, 1], 4)).toEqual([]);
  });
});

test("times say as much as tells neighbours apart, and the day where it begins", () => {
  const at = (...parts: [number, number, number, number?, number?]) => new Date(2026, 10, ...parts).getTime() / 1000;
  expect(timeLabels([at(25, 13, 44, 30), at(25, 13, 44, 30) + 0.2])).toEqual(["44:30.0", "44:30.2"]);
  expect(timeLabels([at(25, 13, 44, 30), at(25, 13, 44, 45)])).toEqual(["13:44:30", "13:44:45"]);
  expect(timeLabels([at(25, 18, 0), at(26, 0, 0), at(26, 6, 0)])).toEqual(["18:00", "Nov 26", "06:00"]);
  expect(timeLabels([at(25, 0, 0), at(27, 0, 0)])).toEqual(["Nov 25", "Nov 27"]);
});

test("a logarithmic axis writes each tick by itself", () => {
  expect(logLabels([0.001, 1, 1e6])).toEqual(["0.001", "1", "1M"]);
  expect(logLabels([1e12, 1.1e12])).toEqual(["1T", "1.1T"]);
});

suite("labels of ticks", () => {
  test("are as short as tells neighbours apart", () => {
    expect(labels([0, 0.25, 0.5])).toEqual(["0", "0.25", "0.5"]);
    expect(labels([0, 500e6, 1e9])).toEqual(["0", "0.5G", "1G"]);
    expect(labels([0, 5000, 10000])).toEqual(["0", "5k", "10k"]);
    expect(labels([1000, 2000])).toEqual(["1000", "2000"]);
    expect(labels([1e12, 1.1e12])).toEqual(["1T", "1.1T"]);
    expect(labels([-0.1, 0, 0.1])).toEqual(["-0.1", "0", "0.1"]);
  });
  test("never say the same of different ticks", () => {
    expect(labels([999999.99, 1000000, 1000000.01])).toEqual(["999999.99", "1000000", "1000000.01"]);
    expect(labels([0, 1e-10, 2e-10])).toEqual(["0", "1e-10", "2e-10"]);
    expect(labels([1e302, 1.5e302, 2e302])).toEqual(["1e302", "1.5e302", "2e302"]);
    for (const [low, high] of [[0, 1], [1e6, 1e6 + 1], [-3e-7, 4e-7], [0, 3e20], [123456, 123789], [5e9, 5.01e9]] as const) {
      const all = ticks([low, high], 6);
      expect(new Set(labels(all)).size, `${low} to ${high}`).toBe(all.length);
    }
  });
});
