/** What stands in the cells of the run table, as text. */

import type { Run } from "../api/model";
import { duration, number, since, text } from "../format";
import { value } from "../state/columns";

const TITLES: Record<string, string> = { created: "Created", state: "State", duration: "Duration", tags: "Tags", notes: "Notes", group: "Group", name: "Name" };
const TIMES = new Set(["created", "heartbeat", "finished"]);

/** now: seconds since 1970. */
export function cell(run: Run, column: string, now: number): string {
  const found = value(run, column);
  if (TIMES.has(column)) return since(found as number | null, now);
  if (column === "duration") return found === null || found === undefined ? "" : duration(found as number);
  return Array.isArray(found) ? found.join(", ") : text(found);
}

/** What a group has in a column: the mean of numbers, or the one text that all of its runs share. */
export function shared(runs: readonly Run[], column: string): string {
  if (TIMES.has(column)) return "";
  const numbers = runs.map((run) => value(run, column)).filter((one): one is number => typeof one === "number" && Number.isFinite(one));
  if (numbers.length === 0) {
    const texts = new Set(runs.map((run) => cell(run, column, 0)));
    return texts.size === 1 ? [...texts][0]! : "";
  }
  const mean = numbers.reduce((a, b) => a + b, 0) / numbers.length;
  return column === "duration" ? duration(mean) : number(mean, 4);
}

export function title(column: string): string {
  return TITLES[column] ?? column.replace(/^(config|summary)\./, "");
}
