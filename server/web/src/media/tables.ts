/** Table files: columns and rows, sorted and filtered in the browser. */

import { lenientJson, type Shown, fileUrl, textOf } from "./source";

export interface TableData {
  columns: string[];
  rows: unknown[][];
}

export async function tableOf(shown: Shown, project: string, run: string): Promise<TableData> {
  const earlier = Array.isArray(shown.value.previous_increments_paths) ? shown.value.previous_increments_paths.filter((path) => typeof path === "string") : [];
  const urls = [...earlier.map((path) => fileUrl(project, run, path)), shown.url!];
  const all: TableData = { columns: [], rows: [] };
  for (const url of urls) {
    const told = lenientJson(await textOf(url)) as { columns?: unknown[]; data?: unknown[][] };
    if (!Array.isArray(told.columns) || !Array.isArray(told.data)) throw new Error("The file holds no table");
    all.columns = told.columns.map(String);
    all.rows = all.rows.concat(told.data);
  }
  return all;
}

export function compare(a: unknown, b: unknown): number {
  const rank = (value: unknown) => (value === null || value === undefined ? 2 : typeof value === "number" || typeof value === "boolean" ? 0 : 1);
  const by = rank(a) - rank(b);
  if (by !== 0) return by;
  if (rank(a) === 0) return Number(a) - Number(b);
  if (rank(a) === 2) return 0;
  return String(a) < String(b) ? -1 : String(a) > String(b) ? 1 : 0;
}
