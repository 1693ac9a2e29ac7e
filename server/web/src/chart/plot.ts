/** One chart on uPlot: it keeps the axes, the scales and the cursor; the lines are painted by us, each with its own x.
 *
 * uPlot wants one x for all lines of a chart. Runs have as many points as they have, so joining them would make a table of
 * (points of all runs) x runs: 5 million cells for 100 runs. Drawn line by line it is 50,000 points.
 */

import uPlot from "uplot";
import { resolved } from "../theme";
import { nearest } from "./curves";
import type { Line, Look } from "./look";
import { paint, paintDots } from "./paint";
import { type Box, Scales } from "./scales";
import { durationLabels, labels, logLabels, logTicks, SECONDS, timeLabels } from "./ticks";

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
  hover: (hover: Hover | null) => void;
  /** null: all of it */
  zoom: (range: [number, number] | null) => void;
}

const DOTS_MOST = 24;

export class Plot {
  private readonly u: uPlot;
  private look: Look;
  private scales: Scales;
  /** Made when something is first pointed at: each canvas is a layer that scrolling has to carry along. */
  private overlay: HTMLCanvasElement | null = null;
  private readonly styles: CSSStyleDeclaration;
  private cursorX: number | null = null;

  constructor(host: HTMLElement, width: number, height: number, look: Look, private readonly events: Events) {
    this.look = look;
    this.scales = new Scales(look);
    this.styles = getComputedStyle(document.documentElement);
    this.u = new uPlot(this.options(width, height), [[0, 1], [null, null]] as unknown as uPlot.AlignedData, host);
    this.u.over.addEventListener("dblclick", () => this.events.zoom(null));
    this.u.over.addEventListener("mouseleave", () => this.events.hover(null));
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
    this.scales = new Scales(look);
    const { x, yTold } = this.scales;
    this.u.batch(() => {
      this.u.setScale("x", { min: x[0], max: x[1] });
      this.u.setScale("y", { min: yTold[0], max: yTold[1] });
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
    const [min, max] = this.scales.x;
    if (x === null || x < min || x > max) {
      this.u.setCursor({ left: -10, top: -10 }, false);
      this.dots([]);
      return;
    }
    const left = this.u.valToPos(x, "x");
    this.u.setCursor({ left, top: -10 }, false);
    this.dots(this.valuesAt(x, null));
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
  get area(): Box {
    const ratio = uPlot.pxRatio;
    const { left, top, width, height } = this.u.bbox;
    return { left: left / ratio, top: top / ratio, width: width / ratio, height: height / ratio };
  }

  get canvas(): HTMLCanvasElement {
    return this.u.ctx.canvas;
  }

  private yPos(value: number): number {
    return this.u.valToPos(this.scales.told(value), "y");
  }

  private yTicks(): number[] {
    return this.scales.yTicks(this.area.height);
  }

  private css(name: string): string {
    return this.styles.getPropertyValue(name);
  }

  private options(width: number, height: number): uPlot.Options {
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
        x: { time: this.look.xKind === "time", distr: this.scales.xLog ? 3 : 1, auto: false, range: () => this.scales.x },
        y: { auto: false, range: () => this.scales.yTold },
      },
      axes: this.axes(),
      series: [{}, { show: true, paths: () => null, points: { show: false } }],
      hooks: {
        draw: [(u) => paint(u.ctx, u.bbox, uPlot.pxRatio, this.look, this.scales)],
        setCursor: [(u) => this.moved(u)],
        setSelect: [(u) => this.selected(u)],
      },
    };
  }

  private axes(): uPlot.Axis[] {
    const font = `11px ${this.css("--font")}`;
    const axis: uPlot.Axis = {
      stroke: () => resolved("--muted"),
      font,
      grid: { stroke: () => resolved("--grid"), width: 1 },
      ticks: { show: false },
    };
    const xLabels = { time: timeLabels, duration: durationLabels, log: logLabels, linear: labels }[this.look.xKind];
    return [
      {
        ...axis,
        size: 22,
        gap: 3,
        space: () => (this.u.width > 900 ? 110 : 64),
        ...(this.scales.xLog ? { splits: () => logTicks(this.scales.x, this.area.width / 64), filter: (_u, at) => at } : {}),
        ...(this.look.xKind === "time" || this.look.xKind === "duration" ? { incrs: SECONDS } : {}),
        values: (_u, at) => xLabels(at),
      },
      {
        ...axis,
        splits: () => this.yTicks().map((tick) => this.scales.told(tick)),
        gap: 6,
        size: (_u, values) => Math.max(34, 14 + Math.max(0, ...(values ?? []).map((value) => textWidth(value ?? "", font)))),
        values: () => (this.scales.yLog ? logLabels(this.yTicks()) : labels(this.yTicks())),
      },
    ];
  }

  private selected(u: uPlot): void {
    const { left, width } = u.select;
    if (width < 4) return;
    const range: [number, number] = [u.posToVal(left, "x"), u.posToVal(left + width, "x")];
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.events.zoom(range);
  }

  private moved(u: uPlot): void {
    const { left, top } = u.cursor;
    if (left === undefined || left < 0 || top === undefined) return;
    const x = u.posToVal(left, "x");
    const values = this.valuesAt(x, top);
    this.cursorX = x;
    this.dots(values.slice(0, DOTS_MOST));
    this.events.hover({ x, left, top, values });
  }

  private dots(values: Hover["values"]): void {
    if (values.length === 0) {
      this.overlay?.remove();
      this.overlay = null;
      return;
    }
    if (!this.overlay) {
      this.overlay = document.createElement("canvas");
      this.overlay.style.cssText = "position:absolute;inset:0;width:100%;height:100%;pointer-events:none";
      this.u.over.append(this.overlay);
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
    const dots = values.map(({ line, x, y }) => ({ left: this.u.valToPos(x, "x"), top: this.yPos(y), colour: line.colour() }));
    paintDots(context, ratio, dots.reverse(), resolved("--surface"));
  }
}

let measuring: OffscreenCanvasRenderingContext2D | null = null;

function textWidth(text: string, font: string): number {
  measuring ??= new OffscreenCanvas(1, 1).getContext("2d")!;
  measuring.font = font;
  return measuring.measureText(text).width;
}
