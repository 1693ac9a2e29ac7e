/** What stands in the cells of the run table, as text. */

import type { Figures, Run } from "../api/model";
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

/** What a group has in a column: the mean of its numbers, or the one value that all of its runs share. */
export function figure(figures: Figures | undefined, column: string): string {
  if (!figures || TIMES.has(column)) return "";
  const { mean, shared } = figures;
  if (mean !== null) return column === "duration" ? duration(mean) : number(mean, 4);
  return Array.isArray(shared) ? shared.join(", ") : text(shared);
}

export function title(column: string): string {
  return TITLES[column] ?? column.replace(/^(config|summary)\./, "");
}
