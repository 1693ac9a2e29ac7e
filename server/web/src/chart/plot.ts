/** One chart on uPlot: it keeps the axes, the scales and the cursor; the lines are drawn here, each with its own x.
 *
 * uPlot wants one x for all lines of a chart. Runs have as many points as they have, so joining them would make a table of
 * (points of all runs) x runs: 5 million cells for 100 runs. Drawn line by line it is 50,000 points.
 */

import uPlot from "uplot";
import { date, duration, number } from "../format";
import { type Curve, lower, nearest, upper } from "./curves";
import { labels, logLabels, logTicks, ticks, timeLabels } from "./ticks";

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

export interface Look {
  lines: readonly Line[];
  x: [number, number] | null;
  y: [number, number] | null;
  xKind: XKind;
  yLog: boolean;
  envelope: boolean;
  /** id of the line to bring forward; the others step back */
  focus: string | null;
}

export interface Hover {
  /** place on the x axis */
  x: number;
  /** CSS pixels within the plotting area */
  left: number;
  top: number;
  /** what each line says there, the nearest to the pointer first */
  values: { line: Line; x: number; y: number; min: number; max: number; distance: number }[];
}

interface Events {
  hover: (hover: Hover | null, own: boolean) => void;
  zoom: (from: number | null, to: number | null) => void;
}

const LIMITS: [number, number] = [0, 1];

export class Plot {
  private readonly u: uPlot;
  private look: Look;
  /** Made when something is first pointed at: each canvas is a layer that scrolling has to carry along. */
  private overlay: HTMLCanvasElement | null = null;
  private readonly styles: CSSStyleDeclaration;
  private cursorX: number | null = null;

  constructor(host: HTMLElement, width: number, height: number, look: Look, private readonly events: Events) {
    this.look = look;
    this.styles = getComputedStyle(document.documentElement);
    this.u = new uPlot(this.options(width, height), [LIMITS, [null, null]] as unknown as uPlot.AlignedData, host);
    this.u.over.addEventListener("dblclick", () => this.events.zoom(null, null));
    this.u.over.addEventListener("mouseleave", () => this.events.hover(null, true));
  }

  destroy(): void {
    this.u.destroy();
  }

  resize(width: number, height: number): void {
    if (width !== this.u.width || height !== this.u.height) this.u.setSize({ width, height });
  }

  /** Show something else. A change of the kind of an axis needs a new plot: `sameAxes` says whether this one will do. */
  show(look: Look): void {
    this.look = look;
    const x = this.xRange();
    this.u.batch(() => {
      this.u.setScale("x", { min: x[0], max: x[1] });
      const y = this.yScale();
      this.u.setScale("y", { min: y[0], max: y[1] });
    });
    this.u.redraw(false, true);
    if (this.cursorX !== null) this.point(this.cursorX);
  }

  sameAxes(look: Look): boolean {
    return look.xKind === this.look.xKind;
  }

  /** Follow the cursor of another chart; null hides it. */
  point(x: number | null): void {
    this.cursorX = x;
    const [min, max] = this.xRange();
    if (x === null || x < min || x > max) {
      this.u.setCursor({ left: -10, top: -10 }, false);
      this.drawDots([]);
      return;
    }
    const left = this.u.valToPos(x, "x");
    this.u.setCursor({ left, top: -10 }, false);
    this.drawDots(this.valuesAt(x, null));
  }

  valuesAt(x: number, top: number | null): Hover["values"] {
    const found: Hover["values"] = [];
    for (const line of this.look.lines) {
      const i = nearest(line.curve, x);
      if (i < 0) continue;
      const { curve } = line;
      const y = curve.y[i]!;
      const distance = top === null ? 0 : Math.abs(this.yPos(y) - top);
      found.push({ line, x: curve.x[i]!, y, min: curve.min[i]!, max: curve.max[i]!, distance });
    }
    return top === null ? found : found.sort((a, b) => a.distance - b.distance);
  }

  /** The plotting area in CSS pixels, relative to the chart. */
  get area(): { left: number; top: number; width: number; height: number } {
    const ratio = uPlot.pxRatio;
    const { left, top, width, height } = this.u.bbox;
    return { left: left / ratio, top: top / ratio, width: width / ratio, height: height / ratio };
  }

  get canvas(): HTMLCanvasElement {
    return this.u.ctx.canvas;
  }

  private xRange(): [number, number] {
    const [min, max] = this.look.x ?? LIMITS;
    if (min === max) return this.look.xKind === "log" ? [min / 2, max * 2] : [min - 0.5, max + 0.5];
    return [min, max];
  }

  private yRange(): [number, number] {
    const [min, max] = this.look.y ?? (this.look.yLog ? [0.1, 10] : LIMITS);
    if (this.look.yLog) return min === max ? [min / 2, max * 2] : [min / 1.1, max * 1.1];
    if (min === max) {
      const room = Math.abs(min) * 0.1 || 0.5;
      return [min - room, max + room];
    }
    const room = (max - min) * 0.05;
    // A line that never goes below zero is not drawn with room below zero.
    return [min >= 0 && min - room < 0 ? 0 : min - room, max + room];
  }

  /** What uPlot is told of a value: its logarithm, or it in a power of ten, as uPlot takes no numbers of more than 17 digits. */
  private told(): (value: number) => number {
    if (this.look.yLog) return Math.log10;
    const size = Math.max(...this.yRange().map(Math.abs));
    const unit = size === 0 || (size < 1e14 && size > 1e-10) ? 1 : 10 ** Math.floor(Math.log10(size));
    return (value) => value / unit;
  }

  private yScale(): [number, number] {
    return this.yRange().map(this.told()) as [number, number];
  }

  private yPos(value: number): number {
    return this.u.valToPos(this.told()(value), "y");
  }

  private yTicks(): number[] {
    const { height } = this.area;
    const most = Math.max(2, height / (height > 420 ? 48 : 26));
    return this.look.yLog ? logTicks(this.yRange(), most) : ticks(this.yRange(), most);
  }

  private textWidth(text: string): number {
    measuring ??= new OffscreenCanvas(1, 1).getContext("2d")!;
    measuring.font = `11px ${this.css("--font")}`;
    return measuring.measureText(text).width;
  }

  private css(name: string): string {
    return this.styles.getPropertyValue(name);
  }

  private options(width: number, height: number): uPlot.Options {
    const { xKind } = this.look;
    const axis: uPlot.Axis = {
      stroke: () => resolved("--muted"),
      font: `11px ${this.css("--font")}`,
      grid: { stroke: () => resolved("--grid"), width: 1 },
      ticks: { show: false },
    };
    return {
      width,
      height,
      pxAlign: 1,
      padding: [8, 12, 0, 0],
      legend: { show: false },
      cursor: {
        points: { show: false },
        drag: { x: true, y: false, setScale: false },
        dataIdx: () => 0,
      },
      scales: {
        x: { time: xKind === "time", distr: xKind === "log" ? 3 : 1, auto: false, range: () => this.xRange() },
        y: { auto: false, range: () => this.yScale() },
      },
      axes: [
        {
          ...axis,
          size: 22,
          gap: 3,
          space: () => (this.u.width > 900 ? 110 : 64),
          ...(xKind === "log" ? { splits: () => logTicks(this.xRange(), this.area.width / 64), filter: (_u, at) => at } : {}),
          values: (_u, at) => ({ time: timeLabels, duration: (all: readonly number[]) => all.map(duration), log: logLabels, linear: labels })[xKind](at),
        },
        {
          ...axis,
          splits: () => this.yTicks().map(this.told()),
          gap: 6,
          size: (_u, values) => Math.max(34, 14 + Math.max(0, ...(values ?? []).map((value) => this.textWidth(value ?? "")))),
          values: () => (this.look.yLog ? logLabels(this.yTicks()) : labels(this.yTicks())),
        },
      ],
      series: [{}, { show: true, paths: () => null, points: { show: false } }],
      hooks: {
        draw: [(u) => this.draw(u)],
        setCursor: [(u) => this.moved(u)],
        setSelect: [
          (u) => {
            const { left, width } = u.select;
            if (width < 4) return;
            const from = u.posToVal(left, "x");
            const to = u.posToVal(left + width, "x");
            u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            this.events.zoom(from, to);
          },
        ],
      },
    };
  }

  private moved(u: uPlot): void {
    const { left, top } = u.cursor;
    if (left === undefined || left < 0 || top === undefined) return;
    const x = u.posToVal(left, "x");
    const values = this.valuesAt(x, top);
    this.cursorX = x;
    this.drawDots(values.slice(0, 24));
    this.events.hover({ x, left, top, values }, true);
  }

  private drawDots(values: Hover["values"]): void {
    if (!this.overlay) {
      if (values.length === 0) return;
      this.overlay = document.createElement("canvas");
      this.overlay.style.cssText = "position:absolute;inset:0;width:100%;height:100%;pointer-events:none";
      this.u.over.append(this.overlay);
    } else if (values.length === 0) {
      this.overlay.remove();
      this.overlay = null;
      return;
    }
    const ratio = uPlot.pxRatio;
    const { clientWidth, clientHeight } = this.u.over;
    const width = Math.round(clientWidth * ratio);
    const height = Math.round(clientHeight * ratio);
    if (this.overlay.width !== width || this.overlay.height !== height) {
      this.overlay.width = width;
      this.overlay.height = height;
    }
    const context = this.overlay.getContext("2d")!;
    context.clearRect(0, 0, width, height);
    const ground = resolved("--surface");
    for (let i = values.length - 1; i >= 0; i--) {
      const { line, x, y } = values[i]!;
      context.beginPath();
      context.arc(this.u.valToPos(x, "x") * ratio, this.yPos(y) * ratio, 3.5 * ratio, 0, 7);
      context.fillStyle = line.colour();
      context.fill();
      context.lineWidth = 1.5 * ratio;
      context.strokeStyle = ground;
      context.stroke();
    }
  }

  private draw(u: uPlot): void {
    const { ctx } = u;
    const { left, top, width, height } = u.bbox;
    const ratio = uPlot.pxRatio;
    const { lines, focus, envelope } = this.look;
    ctx.save();
    // A little more than the plotting area: a point or a mark at its edge is not cut in half.
    const room = 5 * ratio;
    ctx.beginPath();
    ctx.rect(left - room, top - room, width + 2 * room, height + 2 * room);
    ctx.clip();
    ctx.lineJoin = "round";
    const [from, to] = this.xRange();
    const behind = focus === null ? lines : lines.filter((line) => line.id !== focus);
    const front = focus === null ? [] : lines.filter((line) => line.id === focus);
    for (const line of [...behind, ...front]) {
      const dim = focus !== null && line.id !== focus && front.length > 0;
      if (envelope && line.curve.banded && !dim) this.band(u, line, from, to);
      if (line.raw) this.stroke(u, line.raw, line.colour(dim ? 0.07 : 0.28), 1 * ratio, [], from, to);
      const thick = (focus === line.id ? 2.5 : 1.5) * ratio;
      this.stroke(u, line.curve, line.colour(dim ? 0.25 : 1), thick, line.dash.map((d) => d * ratio), from, to);
    }
    ctx.setLineDash([]);
    for (const line of lines) this.marks(u, line, ratio);
    ctx.restore();
  }

  private stroke(u: uPlot, curve: Curve, colour: string, width: number, dash: number[], from: number, to: number): void {
    const { ctx } = u;
    const { x, y } = curve;
    // One point to either side of what is seen, so that lines leave the picture instead of ending in it.
    const start = Math.max(0, lower(x, from) - 1);
    const end = Math.min(x.length, upper(x, to) + 1);
    const px = this.toX(u);
    const py = this.toY(u);
    ctx.beginPath();
    ctx.strokeStyle = colour;
    ctx.fillStyle = colour;
    ctx.lineWidth = width;
    ctx.setLineDash(dash);
    let open = false;
    let alone: [number, number] | null = null;
    const dots: [number, number][] = [];
    for (let i = start; i < end; i++) {
      const value = y[i]!;
      const b = py(value);
      if (!Number.isFinite(b)) {
        if (alone) dots.push(alone);
        open = false;
        alone = null;
        continue;
      }
      const a = px(x[i]!);
      if (open) {
        ctx.lineTo(a, b);
        alone = null;
      } else {
        ctx.moveTo(a, b);
        alone = [a, b];
        open = true;
      }
    }
    if (alone) dots.push(alone);
    ctx.stroke();
    // A point without neighbours makes no line.
    for (const [a, b] of dots) {
      ctx.beginPath();
      ctx.arc(a, b, width * 1.4, 0, 7);
      ctx.fill();
    }
  }

  private band(u: uPlot, line: Line, from: number, to: number): void {
    const { ctx } = u;
    const { x, min, max } = line.curve;
    const start = Math.max(0, lower(x, from) - 1);
    const end = Math.min(x.length, upper(x, to) + 1);
    const px = this.toX(u);
    const py = this.toY(u);
    const floor = u.bbox.top + u.bbox.height;
    ctx.fillStyle = line.colour(0.16);
    for (let i = start; i < end; ) {
      while (i < end && Number.isNaN(min[i]!)) i++;
      let stop = i;
      while (stop < end && !Number.isNaN(min[stop]!)) stop++;
      if (stop - i > 1) {
        ctx.beginPath();
        for (let j = i; j < stop; j++) ctx.lineTo(px(x[j]!), py(max[j]!));
        for (let j = stop - 1; j >= i; j--) {
          const b = py(min[j]!);
          ctx.lineTo(px(x[j]!), Number.isFinite(b) ? b : floor);
        }
        ctx.fill();
      }
      i = Math.max(stop, i + 1);
    }
  }

  private marks(u: uPlot, line: Line, ratio: number): void {
    if (line.marks.length === 0) return;
    const { ctx } = u;
    const px = this.toX(u);
    const { top, height } = u.bbox;
    const size = 4 * ratio;
    ctx.fillStyle = ctx.strokeStyle = line.colour();
    ctx.lineWidth = 1.5 * ratio;
    // Marks that would stand on each other are one: a run that went to NaN has one at every step.
    const taken = { NaN: -Infinity, "+Inf": -Infinity, "-Inf": -Infinity };
    for (const { x, what } of line.marks) {
      const a = px(x);
      if (a - taken[what] < size * 4) continue;
      taken[what] = a;
      const b = what === "+Inf" ? top + size + 1 : top + height - size - 1;
      ctx.beginPath();
      if (what === "NaN") {
        ctx.moveTo(a - size, b - size);
        ctx.lineTo(a + size, b + size);
        ctx.moveTo(a + size, b - size);
        ctx.lineTo(a - size, b + size);
        ctx.stroke();
      } else {
        const tip = what === "+Inf" ? -size : size;
        ctx.moveTo(a - size, b - tip);
        ctx.lineTo(a + size, b - tip);
        ctx.lineTo(a, b + tip);
        ctx.fill();
      }
    }
  }

  private toX(u: uPlot): (value: number) => number {
    return this.mapped(u.bbox.left, u.bbox.width, this.xRange(), this.look.xKind === "log", false);
  }

  private toY(u: uPlot): (value: number) => number {
    return this.mapped(u.bbox.top, u.bbox.height, this.yRange(), this.look.yLog, true);
  }

  private mapped(start: number, size: number, [min, max]: [number, number], log: boolean, flip: boolean): (value: number) => number {
    const a = log ? Math.log(min) : min;
    const scale = size / ((log ? Math.log(max) : max) - a);
    if (flip) return log ? (value) => start + size - (Math.log(value) - a) * scale : (value) => start + size - (value - a) * scale;
    return log ? (value) => start + (Math.log(value) - a) * scale : (value) => start + (value - a) * scale;
  }
}

let measuring: OffscreenCanvasRenderingContext2D | null = null;
const cache = new Map<string, string>();
let probe: HTMLElement | null = null;

/** What a colour variable is right now: light-dark() has to be computed by the browser. */
export function resolved(name: string): string {
  const theme = document.documentElement.dataset.theme ?? String(matchMedia("(prefers-color-scheme: dark)").matches);
  const key = `${theme} ${name}`;
  let value = cache.get(key);
  if (value === undefined) {
    if (!probe) {
      probe = document.createElement("span");
      probe.hidden = true;
      document.body.append(probe);
    }
    probe.style.color = `var(${name})`;
    value = getComputedStyle(probe).color;
    cache.set(key, value);
  }
  return value;
}

/** A value of the x axis in words. */
export function xText(value: number, kind: XKind): string {
  if (kind === "time") return date(value);
  if (kind === "duration") return duration(value);
  return number(value, 6);
}
