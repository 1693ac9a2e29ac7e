/** A chart as a file: PNG with title and legend, SVG drawn from the same curves, CSV of the points. */

import { resolved } from "../theme";
import { type Curve, csv } from "./curves";
import type { Line, XKind } from "./look";
import { durationLabels, labels, logLabels, logTicks, secondTicks, ticks, timeLabels } from "./ticks";

export interface Picture {
  title: string;
  xLabel: string;
  note: string;
  lines: readonly Line[];
  x: [number, number];
  y: [number, number];
  xKind: XKind;
  yLog: boolean;
}

export function saveCsv(picture: Picture): void {
  const curves: Curve[] = picture.lines.map((line) => line.raw ?? line.curve);
  save(new Blob([csv(picture.xLabel, curves)], { type: "text/csv" }), `${fileName(picture.title)}.csv`);
}

export function savePng(picture: Picture, chart: HTMLCanvasElement): void {
  const ratio = Math.max(2, devicePixelRatio);
  const scale = chart.width / chart.clientWidth;
  const width = chart.clientWidth;
  const rows = legendRows(picture, width);
  const height = chart.clientHeight + 40 + rows.length * 18 + 10;
  const canvas = document.createElement("canvas");
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const context = canvas.getContext("2d")!;
  context.scale(ratio, ratio);
  context.fillStyle = resolved("--surface");
  context.fillRect(0, 0, width, height);
  context.fillStyle = resolved("--text");
  context.font = "600 14px system-ui, sans-serif";
  context.fillText(picture.title, 12, 20);
  context.fillStyle = resolved("--muted");
  context.font = "11px system-ui, sans-serif";
  context.fillText(picture.note, 12, 35);
  context.drawImage(chart, 0, 0, chart.width, chart.height, 0, 40, chart.width / scale, chart.height / scale);
  rows.forEach((row, i) => {
    for (const { line, left } of row) {
      const top = 40 + chart.clientHeight + 16 + i * 18;
      context.fillStyle = line.colour();
      context.fillRect(left, top - 4, 14, 3);
      context.fillStyle = resolved("--text");
      context.fillText(line.label, left + 19, top);
    }
  });
  canvas.toBlob((blob) => blob && save(blob, `${fileName(picture.title)}.png`), "image/png");
}

function legendRows(picture: Picture, width: number): { line: Line; left: number }[][] {
  const rows: { line: Line; left: number }[][] = [[]];
  let left = 12;
  for (const line of picture.lines.slice(0, 100)) {
    const size = 36 + line.label.length * 6.2;
    if (left + size > width && rows.at(-1)!.length) {
      rows.push([]);
      left = 12;
    }
    rows.at(-1)!.push({ line, left });
    left += size;
  }
  return rows;
}

export function saveSvg(picture: Picture): void {
  save(new Blob([svg(picture)], { type: "image/svg+xml" }), `${fileName(picture.title)}.svg`);
}

const escape = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

/** The chart as SVG text. */
export function svg(picture: Picture, width = 800, height = 450): string {
  const [left, right, top, bottom] = [64, 16, 44, 40];
  const w = width - left - right;
  const h = height - top - bottom;
  const map = ([min, max]: [number, number], log: boolean) => {
    const f = log ? Math.log : (v: number) => v;
    const size = f(max) - f(min) || 1;
    return (v: number) => (f(v) - f(min)) / size;
  };
  const px = map(picture.x, picture.xKind === "log");
  const py = map(picture.y, picture.yLog);
  const X = (v: number) => (left + px(v) * w).toFixed(1);
  const Y = (v: number) => (top + h - py(v) * h).toFixed(1);
  const out = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height + 18 * picture.lines.length}" font-family="sans-serif" font-size="11">`,
    `<rect width="100%" height="100%" fill="${resolved("--surface")}"/>`,
    `<text x="12" y="20" font-size="14" font-weight="600" fill="${resolved("--text")}">${escape(picture.title)}</text>`,
    `<text x="12" y="35" fill="${resolved("--muted")}">${escape(picture.note)}</text>`,
    `<clipPath id="c"><rect x="${left}" y="${top}" width="${w}" height="${h}"/></clipPath>`,
  ];
  const yTicks = picture.yLog ? logTicks(picture.y, 7) : ticks(picture.y, 7);
  const yLabels = picture.yLog ? logLabels(yTicks) : labels(yTicks);
  for (const [i, tick] of yTicks.entries()) {
    out.push(`<path d="M${left} ${Y(tick)}H${left + w}" stroke="${resolved("--grid")}"/><text x="${left - 6}" y="${Y(tick)}" dy="4" text-anchor="end" fill="${resolved("--muted")}">${escape(yLabels[i]!)}</text>`);
  }
  const xTicks = { log: logTicks, linear: ticks, time: secondTicks, duration: secondTicks }[picture.xKind](picture.x, 7);
  const xLabels = { log: logLabels, linear: labels, time: timeLabels, duration: durationLabels }[picture.xKind](xTicks);
  for (const [i, tick] of xTicks.entries()) {
    out.push(`<text x="${X(tick)}" y="${top + h + 16}" text-anchor="middle" fill="${resolved("--muted")}">${escape(xLabels[i]!)}</text>`);
  }
  out.push(`<text x="${left + w}" y="${top + h + 32}" text-anchor="end" fill="${resolved("--muted")}">${escape(picture.xLabel)}</text><g clip-path="url(#c)" fill="none">`);
  for (const line of picture.lines) {
    if (line.raw) out.push(`<path d="${pathOf(line.raw, X, Y)}" stroke="${line.colour()}" stroke-opacity="0.28"/>`);
    const dash = line.dash.length ? ` stroke-dasharray="${line.dash.join(" ")}"` : "";
    out.push(`<path d="${pathOf(line.curve, X, Y)}" stroke="${line.colour()}" stroke-width="1.5"${dash}/>`);
  }
  out.push("</g>");
  picture.lines.forEach((line, i) => {
    const y = height + 12 + i * 18;
    out.push(`<path d="M${left} ${y - 4}h14" stroke="${line.colour()}" stroke-width="3"/><text x="${left + 20}" y="${y}" fill="${resolved("--text")}">${escape(line.label)}</text>`);
  });
  out.push("</svg>");
  return out.join("\n");
}

function pathOf(curve: Curve, X: (v: number) => string, Y: (v: number) => string): string {
  let d = "";
  let open = false;
  for (let i = 0; i < curve.x.length; i++) {
    const y = Y(curve.y[i]!);
    if (y === "NaN" || y.includes("Inf")) open = false;
    else {
      d += `${open ? "L" : "M"}${X(curve.x[i]!)} ${y}`;
      open = true;
    }
  }
  return d;
}

export function fileName(title: string): string {
  return title.replace(/[^\w.-]+/g, "-").replace(/^-+|-+$/g, "") || "chart";
}

export function save(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
