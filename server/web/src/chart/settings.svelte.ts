/** How charts are drawn: read from the address, so that a link shows the same picture. */

import { place } from "../state/place.svelte";

export type Axis = "auto" | "_step" | "_timestamp" | "_runtime" | (string & {});

function list(name: string): string[] {
  return (place.get(name) ?? "").split(",").filter(Boolean);
}

export const settings = {
  get x(): Axis {
    return place.get("x") ?? "auto";
  },
  set x(axis: Axis) {
    place.set({ x: axis === "auto" ? null : axis, zoom: null });
  },
  /** 0: none, towards 1: more */
  get smooth(): number {
    const value = Number(place.get("smooth") ?? 0);
    return value > 0 && value < 1 ? value : 0;
  },
  set smooth(value: number) {
    place.set({ smooth: value > 0 ? String(value) : null });
  },
  get xLog(): boolean {
    return place.get("xlog") === "1";
  },
  set xLog(on: boolean) {
    place.set({ xlog: on ? "1" : null });
  },
  /** Curves from the mean of each bucket, or from its last, lowest or highest value. */
  get line(): "mean" | "last" | "min" | "max" {
    const value = place.get("line");
    return value === "last" || value === "min" || value === "max" ? value : "mean";
  },
  set line(value: string) {
    place.set({ line: value === "mean" ? null : value });
  },
  get envelope(): boolean {
    return place.get("band") !== "0";
  },
  set envelope(on: boolean) {
    place.set({ band: on ? null : "0" });
  },
  /** Whether the points of all ranks are drawn, not those of the lowest alone. */
  get ranks(): boolean {
    return place.get("ranks") === "all";
  },
  set ranks(on: boolean) {
    place.set({ ranks: on ? "all" : null });
  },
  /** Whether rows that a resumed run took back are drawn, too. */
  get rewound(): boolean {
    return place.get("rewound") === "1";
  },
  set rewound(on: boolean) {
    place.set({ rewound: on ? "1" : null });
  },
  get spread(): "minmax" | "std" {
    return place.get("spread") === "std" ? "std" : "minmax";
  },
  set spread(value: string) {
    place.set({ spread: value === "std" ? "std" : null });
  },
  get zoom(): [number, number] | null {
    const parts = (place.get("zoom") ?? "").split(":").map(Number);
    return parts.length === 2 && parts.every(Number.isFinite) && parts[0]! < parts[1]! ? [parts[0]!, parts[1]!] : null;
  },
  set zoom(range: [number, number] | null) {
    place.set({ zoom: range ? range.map((value) => Number(value.toPrecision(8))).join(":") : null }, "push");
  },
  /** Whether something is on for a chart: for all of them ("*"), or for its key. */
  on(name: "ylog" | "clip", key: string): boolean {
    const keys = list(name);
    return keys.includes("*") !== keys.includes(encodeURIComponent(key));
  },
  all(name: "ylog" | "clip"): boolean {
    return list(name).includes("*");
  },
  toggle(name: "ylog" | "clip", key: string): void {
    const keys = new Set(list(name));
    const entry = key === "*" ? "*" : encodeURIComponent(key);
    if (!keys.delete(entry)) keys.add(entry);
    place.set({ [name]: [...keys].join(",") });
  },
  /** Height of charts: small, medium, large. */
  get size(): "s" | "m" | "l" {
    const value = place.get("size");
    return value === "s" || value === "l" ? value : "m";
  },
  set size(value: string) {
    place.set({ size: value === "m" ? null : value });
  },
};
