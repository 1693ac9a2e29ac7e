/** The media of a key of a run: its steps at once, its values in pages, kept until the run has more. */

import { api } from "../api/client";
import type { MediaItem } from "../api/model";

export interface Media {
  steps: number[];
  /** what is known, by step */
  items: Map<number, MediaItem[]>;
}

const known = new Map<string, Promise<Media>>();
const PAGE = 500;
/** Texts of a key that are read at once: the first ones. */
const TEXTS = 5000;
/** Keys of runs that are kept: as many as some screens have. Beyond it the one that was not asked for longest goes. */
const KEPT = 240;
/** Steps of a key whose values are kept beside its first page. */
const KEPT_STEPS = 4 * PAGE;

/** kind: of the key; texts are no media, they stand in rows as they are. */
export function media(project: string, run: string, key: string, kind: string): Promise<Media> {
  const name = `${project}/${run}\n${key}`;
  let found = known.get(name);
  if (!found) {
    const asked = kind === "text" ? texts(project, run, key) : first(project, run, key);
    asked.catch(() => known.get(name) === asked && known.delete(name));
    found = asked;
  }
  known.delete(name); // the last in the order of a Map is the one that was asked for last
  known.set(name, found);
  shorten(known, KEPT);
  return found;
}

/** Forget what was kept longest. */
function shorten(kept: Map<unknown, unknown>, most: number): void {
  for (const key of kept.keys()) {
    if (kept.size <= most) return;
    kept.delete(key);
  }
}

/** The run has new rows: ask again. */
export function forget(project: string, run: string): void {
  for (const name of known.keys()) if (name.startsWith(`${project}/${run}\n`)) known.delete(name);
}

async function first(project: string, run: string, key: string): Promise<Media> {
  const answer = await api.media(project, run, { key: [key], limit: PAGE });
  const found: Media = { steps: answer.steps, items: new Map() };
  keep(found, answer.items);
  if (answer.total > answer.items.length) {
    // The last step of a page may have come in part.
    const last = answer.items.at(-1)?.step;
    if (last !== null && last !== undefined) found.items.delete(last);
  }
  return found;
}

async function texts(project: string, run: string, key: string): Promise<Media> {
  const found: Media = { steps: [], items: new Map() };
  for (const row of await api.rows(project, run, ["_step", key], TEXTS)) {
    const step = row._step;
    const value = row[key];
    if (typeof step !== "number" || typeof value !== "string") continue;
    found.steps.push(step);
    found.items.set(step, [{ key, step, index: 0, type: "text", value: { text: value }, caption: null } as unknown as MediaItem]);
  }
  return found;
}

function keep(found: Media, items: readonly MediaItem[]): void {
  for (const item of items) {
    if (item.step === null) continue;
    const list = found.items.get(item.step);
    if (list) list.push(item);
    else found.items.set(item.step, [item]);
  }
}

/** What was logged at a step, or at the last one before it. */
export async function at(found: Media, project: string, run: string, key: string, step: number | null): Promise<{ step: number; items: MediaItem[] } | null> {
  const here = nearest(found.steps, step);
  if (here === null) return null;
  let items = found.items.get(here);
  if (!items) {
    const answer = await api.media(project, run, { key: [key], step: here, limit: 1000 });
    items = answer.items;
    found.items.set(here, items);
    shorten(found.items, KEPT_STEPS);
  }
  return { step: here, items };
}

/** The last of the steps that is not behind the wanted one; the first when all are; the last for null. */
export function nearest(steps: readonly number[], wanted: number | null): number | null {
  if (steps.length === 0) return null;
  if (wanted === null) return steps[steps.length - 1]!;
  let best = steps[0]!;
  for (const step of steps) {
    if (step > wanted) break;
    best = step;
  }
  return best;
}

/** Where a file of a run is. */
export function fileUrl(project: string, run: string, path: string): string {
  return `/api/v1/runs/${encodeURIComponent(project)}/${encodeURIComponent(run)}/files/${path.split("/").map(encodeURIComponent).join("/")}`;
}

type Value = Record<string, unknown>;

/** One thing to show: a value by itself, or one of a list that was logged as one. */
export interface Shown {
  type: string;
  value: Value;
  url: string | null;
  caption: string | null;
}

const text = (value: unknown): string | null => (typeof value === "string" && value !== "" ? value : null);

/** A value of a row as the things that it holds. */
export function parts(project: string, run: string, item: { type: string; value: Value; caption: string | null }): Shown[] {
  const { type, value } = item;
  const url = (path: unknown) => (typeof path === "string" ? fileUrl(project, run, path) : null);
  const captions = Array.isArray(value.captions) ? value.captions : [];
  const one = (kind: string, own: Value, i: number): Shown => ({ type: kind, value: own, url: url(own.path), caption: text(own.caption) ?? text(captions[i]) });
  if (type === "images/separated") {
    const files = (Array.isArray(value.files) ? value.files : ((value.filenames as unknown[]) ?? []).map((path) => ({ path }))) as Value[];
    const boxes = (value.all_boxes ?? []) as unknown[];
    const masks = (value.all_masks ?? []) as unknown[];
    return files.map((file, i) => one("image-file", { width: value.width, height: value.height, format: value.format, ...file, boxes: boxes[i] || undefined, masks: masks[i] || undefined }, i));
  }
  for (const [group, list, kind] of [["audio", "audio", "audio-file"], ["videos", "videos", "video-file"], ["html", "html", "html-file"], ["object3D", "objects", "object3D-file"]] as const) {
    if (type === group && Array.isArray(value[list])) return (value[list] as Value[]).map((own, i) => one(kind, own, i));
  }
  return [{ type, value, url: url(value.path), caption: item.caption ?? text(value.caption) }];
}

/** The bytes of a file, as text. Raises what went wrong, in words. */
export async function textOf(url: string): Promise<string> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(response.status === 404 ? "The file is not there (yet)" : `The server answers ${response.status}`);
  return response.text();
}

/** JSON as Python writes it: with NaN and Infinity. */
export function lenientJson(source: string): unknown {
  try {
    return JSON.parse(source);
  } catch {
    // Outside of strings only: a string is taken whole by the first branch.
    return JSON.parse(source.replace(/"(?:[^"\\]|\\.)*"|-?\bInfinity\b|\bNaN\b/g, (part) => (part.startsWith('"') ? part : "null")));
  }
}
