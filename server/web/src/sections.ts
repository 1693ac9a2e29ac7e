/** Keys in sections by what stands before their first separator: train/loss and train.loss stand under "train". */

import { isScalar, type Key } from "./api/model";

export interface Section {
  name: string;
  keys: Key[];
}

const MACHINE = new Set(["system", "process", "gpu", "milepost", "hw"]);
export const MAIN = "metrics";

export function sectionOf(key: string): string {
  const at = key.search(/[/.]/);
  return at > 0 ? key.slice(0, at) : MAIN;
}

/** The part of a key that its section does not say already. */
export function shortName(key: string): string {
  const at = key.search(/[/.]/);
  return at > 0 ? key.slice(at + 1) : key;
}

/** What the server can look for of a search in keys: its longest word; nothing of a /regular expression/. */
export function searchWord(search: string): string {
  if (/^\/.*\/$/.test(search)) return "";
  return search.split(/\s+/).reduce((a, b) => (b.length > a.length ? b : a), "");
}

/** Natural order: layer2 before layer10. */
export const natural = new Intl.Collator("en", { numeric: true }).compare;

const NUMBERS = /(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)/i;

/** Values in the order of the numbers in them, decimals and powers of ten included: lr=1e-4 before lr=0.01. */
export function byValue(a: string, b: string): number {
  const [x, y] = [a.split(NUMBERS), b.split(NUMBERS)];
  for (let i = 0; i < Math.min(x.length, y.length); i++) {
    const by = i % 2 ? Number(x[i]) - Number(y[i]) : x[i] === y[i] ? 0 : natural(x[i]!, y[i]!);
    if (by) return by;
  }
  return x.length - y.length || natural(a, b);
}

/** In each section curves before media. Training first, then what it is judged by, then the rest in the order of names; the machine's own measurements last. */
export function sections(keys: readonly Key[], search = ""): Section[] {
  const matches = matcher(search);
  const found = new Map<string, Key[]>();
  const charts = new Set(keys.filter((key) => key.kind === "chart-file").map((key) => `${key.name}_table`));
  for (const key of keys) {
    // A chart's rows also stand beside it as KEY_table, for scripts; its own panel shows them.
    if (!matches(key.name) || (charts.has(key.name) && key.kind.endsWith("table-file"))) continue;
    const name = sectionOf(key.name);
    const list = found.get(name);
    if (list) list.push(key);
    else found.set(name, [key]);
  }
  return [...found]
    .map(([name, list]) => ({ name, keys: list.sort((a, b) => Number(isScalar(b.kind)) - Number(isScalar(a.kind)) || natural(a.name, b.name)) }))
    .sort((a, b) => rank(a.name) - rank(b.name) || natural(a.name, b.name));
}

const FIRST = [MAIN, "train", "training", "val", "valid", "validation", "test", "eval"];

function rank(name: string): number {
  if (isMachine(name)) return 100;
  const at = FIRST.indexOf(name.toLowerCase());
  return at < 0 ? 50 : at;
}

export function isMachine(section: string): boolean {
  return MACHINE.has(section);
}

/** Words that must all occur, or a /regular expression/. */
export function matcher(search: string): (name: string) => boolean {
  const wanted = search.trim();
  if (!wanted) return () => true;
  if (wanted.length > 2 && wanted.startsWith("/") && wanted.endsWith("/")) {
    try {
      const pattern = new RegExp(wanted.slice(1, -1), "i");
      return (name) => pattern.test(name);
    } catch {
      return () => false;
    }
  }
  const words = wanted.toLowerCase().split(/\s+/);
  return (name) => {
    const lower = name.toLowerCase();
    return words.every((word) => lower.includes(word));
  };
}
