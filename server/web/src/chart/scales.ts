/** The ranges of a chart's axes, with some room, and where a value stands in them. */

import type { Axes } from "./look";
import { logTicks, ticks } from "./ticks";

type Range = [number, number];

/** A rectangle of the canvas, in its pixels. */
export interface Box {
  left: number;
  top: number;
  width: number;
  height: number;
}

const NOTHING: Range = [0, 1];
const NOTHING_LOG: Range = [0.1, 10];

export class Scales {
  readonly x: Range;
  readonly y: Range;
  readonly xLog: boolean;
  readonly yLog: boolean;
  private readonly unit: number;

  constructor({ x, y, xKind, yLog }: Axes) {
    this.xLog = xKind === "log";
    this.yLog = yLog;
    this.x = xRange(x ?? NOTHING, this.xLog);
    this.y = yRange(y ?? (yLog ? NOTHING_LOG : NOTHING), yLog);
    const size = Math.max(...this.y.map(Math.abs));
    this.unit = size === 0 || (size < 1e14 && size > 1e-10) ? 1 : 10 ** Math.floor(Math.log10(size));
  }

  /** What uPlot is told of a y: its logarithm, or it in a power of ten, as uPlot takes no numbers of more than 17 digits. */
  told(value: number): number {
    return this.yLog ? Math.log10(value) : value / this.unit;
  }

  get yTold(): Range {
    return [this.told(this.y[0]), this.told(this.y[1])];
  }

  /** Where the labels of y stand, on an axis of so many CSS pixels. */
  yTicks(height: number): number[] {
    const most = Math.max(2, height / (height > 420 ? 48 : 26));
    return this.yLog ? logTicks(this.y, most) : ticks(this.y, most);
  }

  toX(box: Box): (value: number) => number {
    return mapped(box.left, box.width, this.x, this.xLog);
  }

  toY(box: Box): (value: number) => number {
    return mapped(box.top + box.height, -box.height, this.y, this.yLog);
  }
}

function xRange([min, max]: Range, log: boolean): Range {
  if (min === max) return log ? [min / 2, max * 2] : [min - 0.5, max + 0.5];
  return [min, max];
}

function yRange([min, max]: Range, log: boolean): Range {
  if (log) return min === max ? [min / 2, max * 2] : [min / 1.1, max * 1.1];
  if (min === max) {
    const room = Math.abs(min) * 0.1 || 0.5;
    return [min - room, max + room];
  }
  const room = (max - min) * 0.05;
  // A line that never goes below zero is not drawn with room below zero.
  return [min >= 0 && min - room < 0 ? 0 : min - room, max + room];
}

/** From a range to pixels: its lower end stands at `start`, its upper one `size` behind it. */
function mapped(start: number, size: number, [min, max]: Range, log: boolean): (value: number) => number {
  const low = log ? Math.log(min) : min;
  const scale = size / ((log ? Math.log(max) : max) - low);
  return log ? (value) => start + (Math.log(value) - low) * scale : (value) => start + (value - low) * scale;
}
