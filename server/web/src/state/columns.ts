/** Columns of the run table: fields of a run, and values of its config and summary, as texts and in addresses. */

import type { Run } from "../api/model";
import { text } from "../format";

/** Fields that the table shows without being asked; one that no run has says nothing and is left out. */
export const FIELDS = ["state", "created", "duration", "group", "tags", "notes"] as const;

export function value(run: Run, column: string): unknown {
  if (column.startsWith("config.") || column.startsWith("summary.")) return run.columns?.[column];
  return (run as unknown as Record<string, unknown>)[column];
}

/** Whether a run has something to show in a column. */
export function isFilled(run: Run, column: string): boolean {
  const found = value(run, column);
  return found !== null && found !== undefined && found !== "" && !(Array.isArray(found) && found.length === 0);
}

export function groupValue(run: Run, by: string): string {
  return groupText(value(run, by));
}

/** The value that the runs of a group share, as people read it. */
export function groupText(found: unknown): string {
  if (found === undefined || found === null) return "(none)";
  if (typeof found === "number") return String(found); // as the server groups: what differs in the sixth digit is not the same
  return Array.isArray(found) ? found.join(", ") || "(none)" : text(found);
}

/** Commas part the columns of an address, so those within names are written as %2C. */
export function encodeColumn(name: string): string {
  return name.replaceAll("%", "%25").replaceAll(",", "%2C");
}

export function decodeColumn(name: string): string {
  return name.replaceAll("%2C", ",").replaceAll("%25", "%");
}
