import { describe as suite, expect, test } from "vitest";
import { assign, colour, COLOURS, HUES, oklch, SLOTS, type Theme } from "./colours";

suite("colours", () => {
  test("96 runs get 96 different lines", () => {
    const ids = Array.from({ length: 96 }, (_, i) => `run${i}`);
    expect(new Set(assign(ids).values()).size).toBe(SLOTS);
  });
  test("a colour that a run was given stays with it", () => {
    const slots = assign(["a", "b", "c"], new Map([["c", 0]]));
    expect(slots.get("c")).toBe(0);
    expect(new Set(slots.values()).size).toBe(3);
  });
  test("of few runs have different hues, whatever they had among many", () => {
    const hues = (slots: ReadonlyMap<string, number>) => new Set([...slots.values()].map((slot) => slot % HUES)).size;
    const many = assign(Array.from({ length: 30 }, (_, i) => `run${i}`));
    const few = ["run0", "run5", "run12", "run17", "run24", "run29"];
    expect(hues(assign(few, many))).toBe(6);
    expect(assign(few, many).get("run5")).toBe(5);
    expect(hues(assign(few, many, new Map([["run29", 5]])))).toBe(6);
  });
  test("that somebody chose are what they chose, the others keep clear of them", () => {
    const slots = assign(["a", "b", "c"], new Map([["a", 3]]), new Map([["b", 3], ["c", 3]]));
    expect([slots.get("b"), slots.get("c")]).toEqual([3, 3]);
    expect(slots.get("a")).not.toBe(3);
  });
  test("of eight runs differ much, of twelve well, on both grounds, also for those who see no red or no green", () => {
    for (const theme of ["light", "dark"] as const) {
      expect(closest(8, theme, "all")).toBeGreaterThan(20);
      expect(closest(12, theme, "all")).toBeGreaterThan(15);
      for (const eye of ["no red", "no green"] as const) {
        expect(closest(8, theme, eye)).toBeGreaterThan(9);
        expect(closest(12, theme, eye)).toBeGreaterThan(6);
      }
      expect(closest(COLOURS, theme, "all")).toBeGreaterThan(4);
    }
  });
  test("are bright on light ground: no browns, no olives", () => {
    for (let slot = 0; slot < HUES; slot++) {
      const [l, c, h] = oklch(slot, "light");
      expect(l, colour(slot, "light")).toBeGreaterThanOrEqual(h > 45 && h < 130 ? 0.6 : 0.48);
      expect(c, colour(slot, "light")).toBeGreaterThanOrEqual(0.1);
    }
  });
  test("a newer run does not recolour older ones, and more runs than slots end", () => {
    const few = assign(["a", "b", "c"]);
    const more = assign(["a", "b", "c", "d"]);
    for (const id of ["a", "b", "c"]) expect(more.get(id)).toBe(few.get(id));
    expect(assign(Array.from({ length: 500 }, (_, i) => String(i))).size).toBe(500);
  });
  test("have a contrast of 3:1 with the ground of their theme", () => {
    for (let slot = 0; slot < COLOURS; slot++) {
      expect(contrast(luminance(rgb(slot, "light")), 1), colour(slot, "light")).toBeGreaterThan(3);
      expect(contrast(luminance(rgb(slot, "dark")), 0.009), colour(slot, "dark")).toBeGreaterThan(3);
    }
  });
});

type Triple = [number, number, number];
type Eye = "all" | "no red" | "no green";

/** What is left of linear red, green and blue without one kind of cones (Machado and others, 2009). */
const EYES: Record<Eye, [Triple, Triple, Triple]> = {
  all: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
  "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
};

const times = (rows: readonly Triple[], v: Triple) => rows.map((row) => row[0] * v[0] + row[1] * v[1] + row[2] * v[2]) as Triple;
const clamp = (value: number) => Math.min(1, Math.max(0, value));
const rad = (degrees: number) => (degrees * Math.PI) / 180;

/** A colour as linear red, green and blue, cut to what a screen can show. */
function rgb(slot: number, theme: Theme): Triple {
  const [l, c, h] = oklch(slot, theme);
  const [a, b] = [c * Math.cos(rad(h)), c * Math.sin(rad(h))];
  const cones = [l + 0.3963377774 * a + 0.2158037573 * b, l - 0.1055613458 * a - 0.0638541728 * b, l - 0.0894841775 * a - 1.291485548 * b].map((v) => v ** 3) as Triple;
  return times([[4.0767416621, -3.3077115913, 0.2309699292], [-1.2684380046, 2.6097574011, -0.3413193965], [-0.0041960863, -0.7034186147, 1.707614701]], cones).map(clamp) as Triple;
}

function luminance([red, green, blue]: Triple): number {
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(a: number, b: number): number {
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}

function lab(slot: number, theme: Theme, eye: Eye): Triple {
  const seen = times(EYES[eye], rgb(slot, theme)).map(clamp) as Triple;
  const xyz = times([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]], seen);
  const [x, y, z] = [xyz[0] / 0.95047, xyz[1], xyz[2] / 1.08883].map((v) => (v > 216 / 24389 ? Math.cbrt(v) : ((24389 / 27) * v + 16) / 116)) as Triple;
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

/** The least distance (CIEDE2000) between two of the first colours: 1 is just seen side by side. */
function closest(count: number, theme: Theme, eye: Eye): number {
  const all = Array.from({ length: count }, (_, slot) => lab(slot, theme, eye));
  return Math.min(...all.flatMap((a, i) => all.slice(i + 1).map((b) => distance(a, b))));
}

test("the distance is CIEDE2000: pairs of Sharma's test data", () => {
  expect(distance([50, 2.6772, -79.7751], [50, 0, -82.7485])).toBeCloseTo(2.0425, 4);
  expect(distance([50, 2.5, 0], [73, 25, -18])).toBeCloseTo(27.1492, 4);
  expect(distance([90.8027, -2.0831, 1.441], [91.1528, -1.6435, 0.0447])).toBeCloseTo(1.4441, 4);
});

function distance([l1, a1, b1]: Triple, [l2, a2, b2]: Triple): number {
  const raised = (Math.hypot(a1, b1) + Math.hypot(a2, b2)) / 2;
  const gain = 1.5 - 0.5 * Math.sqrt(raised ** 7 / (raised ** 7 + 25 ** 7));
  const [c1, c2] = [Math.hypot(a1 * gain, b1), Math.hypot(a2 * gain, b2)];
  const hue = (a: number, b: number) => ((Math.atan2(b, a * gain) * 180) / Math.PI + 360) % 360;
  const [h1, h2] = [hue(a1, b1), hue(a2, b2)];
  const turn = c1 * c2 === 0 ? 0 : ((h2 - h1 + 540) % 360) - 180;
  const h = c1 * c2 === 0 ? h1 + h2 : (h1 + turn / 2 + 360) % 360;
  const [l, c] = [(l1 + l2) / 2, (c1 + c2) / 2];
  const t = 1 - 0.17 * Math.cos(rad(h - 30)) + 0.24 * Math.cos(rad(2 * h)) + 0.32 * Math.cos(rad(3 * h + 6)) - 0.2 * Math.cos(rad(4 * h - 63));
  const dl = (l2 - l1) / (1 + (0.015 * (l - 50) ** 2) / Math.sqrt(20 + (l - 50) ** 2));
  const dc = (c2 - c1) / (1 + 0.045 * c);
  const dh = (2 * Math.sqrt(c1 * c2) * Math.sin(rad(turn / 2))) / (1 + 0.015 * c * t);
  const bend = -2 * Math.sqrt(c ** 7 / (c ** 7 + 25 ** 7)) * Math.sin(rad(60 * Math.exp(-(((h - 275) / 25) ** 2))));
  return Math.sqrt(dl ** 2 + dc ** 2 + dh ** 2 + bend * dc * dh);
}
