/** What a chart shows, as plain data: its lines, the ranges of its axes, and how they are drawn. */

import { date, duration, number } from "../format";
import type { Curve } from "./curves";

export interface Line {
  id: string;
  label: string;
  curve: Curve;
  /** The line as logged, drawn faint behind the smoothed one. */
  raw: Curve | null;
  colour: (alpha?: number) => string;
  dash: readonly number[];
  marks: readonly { x: number; what: "NaN" | "+Inf" | "-Inf"; n: number }[];
}

export type XKind = "linear" | "log" | "time" | "duration";

/** The axes of a chart. null: nothing is there to be shown. */
export interface Axes {
  x: [number, number] | null;
  y: [number, number] | null;
  xKind: XKind;
  yLog: boolean;
}

export interface Look extends Axes {
  lines: readonly Line[];
  envelope: boolean;
  /** id of the line to bring forward; the others step back */
  focus: string | null;
}

/** A value of the x axis in words. */
export function xText(value: number, kind: XKind): string {
  if (kind === "time") return date(value);
  if (kind === "duration") return duration(value);
  return number(value, 6);
}
