/** Boxes and masks over a picture: where they are in shares of its sides, what they are called, and in which colour. */

import { colour } from "../colours";
import { number } from "../format";
import { fileUrl } from "./source";

type Labels = Record<string, string>;

export interface Box {
  left: number;
  top: number;
  width: number;
  height: number;
  label: string;
  /** of its set and class: what switches it off */
  name: string;
  colour: string;
}

export interface Mask {
  set: string;
  url: string;
  labels: Labels;
}

/** A class has one colour in all pictures; on pictures the colours of the dark theme are seen best. */
export const classColour = (id: unknown) => colour(Number(id) || 0, "dark");
export const className = (set: string, labels: Labels, id: unknown) => `${set}: ${labels[String(id)] ?? `class ${String(id)}`}`;

/** The boxes of a file of a set, for a picture of so many pixels. */
export function boxesOf(told: unknown, set: string, labels: Labels, size: { width: number; height: number }): Box[] {
  const { box_data, class_labels } = (told ?? {}) as { box_data?: Record<string, unknown>[]; class_labels?: Labels };
  return (box_data ?? []).map((box) => place(box, set, { ...labels, ...class_labels }, size));
}

function place(box: Record<string, unknown>, set: string, labels: Labels, size: { width: number; height: number }): Box {
  const at = (box.position ?? {}) as Record<string, number | number[]>;
  const [sx, sy] = box.domain === "pixel" ? [1 / size.width, 1 / size.height] : [1, 1];
  const middle = at.middle as number[] | undefined;
  const left = middle ? middle[0]! - Number(at.width) / 2 : Number(at.minX);
  const top = middle ? middle[1]! - Number(at.height) / 2 : Number(at.minY);
  const width = middle ? Number(at.width) : Number(at.maxX) - left;
  const height = middle ? Number(at.height) : Number(at.maxY) - top;
  const scores = Object.values((box.scores ?? {}) as Record<string, number>);
  const label = [String(box.box_caption ?? labels[String(box.class_id)] ?? `class ${String(box.class_id)}`), ...scores.slice(0, 1).map((score) => number(score, 2))].join(" ");
  return { left: left * sx, top: top * sy, width: width * sx, height: height * sy, label, name: className(set, labels, box.class_id), colour: classColour(box.class_id) };
}

/** The masks of a value that have a file. */
export function masksOf(value: Record<string, unknown>, project: string, run: string): Mask[] {
  return Object.entries((value.masks ?? {}) as Record<string, { path?: string; class_labels?: Labels } | null>).flatMap(([set, mask]) =>
    typeof mask?.path === "string" ? [{ set, url: fileUrl(project, run, mask.path), labels: mask.class_labels ?? {} }] : [],
  );
}

/** What can be switched off, and its colour. */
export function legendOf(boxes: readonly Box[], masks: readonly Mask[]): [string, string][] {
  const found = new Map<string, string>();
  for (const box of boxes) found.set(box.name, box.colour);
  for (const mask of masks) for (const id of Object.keys(mask.labels)) if (id !== "0") found.set(className(mask.set, mask.labels, id), classColour(id));
  return [...found];
}

/** Paint the classes of masks over each other, those that are hidden left out. Masks are grey pictures of class ids. */
export async function paint(canvas: HTMLCanvasElement, masks: readonly Mask[], hidden: ReadonlySet<string>, wanted: () => boolean): Promise<void> {
  const loaded = await Promise.all(masks.map(async (mask) => ({ mask, bitmap: await load(mask.url) })));
  if (!wanted()) return;
  if (loaded.length === 0) return canvas.getContext("2d")?.clearRect(0, 0, canvas.width, canvas.height);
  const { width, height } = loaded[0]!.bitmap;
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true })!;
  const out = context.createImageData(width, height);
  for (const { mask, bitmap } of loaded) {
    const scratch = new OffscreenCanvas(width, height).getContext("2d")!;
    scratch.drawImage(bitmap, 0, 0, width, height);
    const pixels = scratch.getImageData(0, 0, width, height).data;
    const colours = new Map<number, [number, number, number]>();
    for (let i = 0; i < pixels.length; i += 4) {
      const id = pixels[i]!;
      if (id === 0 || hidden.has(className(mask.set, mask.labels, id))) continue;
      let rgb = colours.get(id);
      if (!rgb) colours.set(id, (rgb = rgbOf(classColour(id))));
      out.data.set([...rgb, 130], i);
    }
  }
  context.putImageData(out, 0, 0);
}

async function load(url: string): Promise<ImageBitmap> {
  const response = await fetch(url);
  return createImageBitmap(await response.blob(), { colorSpaceConversion: "none" });
}

/** Red, green and blue of a CSS colour, 0 to 255. */
export function rgbOf(css: string): [number, number, number] {
  const context = new OffscreenCanvas(1, 1).getContext("2d")!;
  context.fillStyle = css;
  context.fillRect(0, 0, 1, 1);
  const [r, g, b] = context.getImageData(0, 0, 1, 1).data;
  return [r!, g!, b!];
}
