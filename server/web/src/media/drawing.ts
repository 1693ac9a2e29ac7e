/** Arithmetic of the charts that are logged as tables. */

/** A cell as a number to draw. What is missing is NaN, also in files, where JSON has null for it: never a point at 0. */
export function amount(cell: unknown): number {
  if (typeof cell === "number") return cell;
  if (typeof cell === "boolean") return Number(cell);
  return typeof cell === "string" && cell.trim() !== "" ? Number(cell) : NaN;
}

/** Values in as many bins as their number deserves (Sturges), each with the middle of the bin as its label. */
export function binned(values: readonly number[]): { label: string; value: number }[] {
  if (values.length === 0) return [];
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const bins = low === high ? 1 : Math.min(50, Math.ceil(Math.log2(values.length) + 1) * 2);
  const width = (high - low) / bins || 1;
  const counts = new Array<number>(bins).fill(0);
  for (const value of values) counts[Math.min(bins - 1, Math.floor((value - low) / width))]!++;
  return counts.map((value, i) => ({ label: String(Number((low + (i + 0.5) * width).toPrecision(3))), value }));
}

export interface Matrix {
  names: string[];
  /** row: the true class; column: the guess */
  counts: number[][];
  sums: number[];
  /** share of right guesses */
  right: number;
}

export function confusion(rows: readonly unknown[][], actual: number, predicted: number, count: number): Matrix {
  const names = [...new Set(rows.flatMap((row) => [String(row[actual]), String(row[predicted])]))];
  const at = new Map(names.map((name, i) => [name, i]));
  const counts = names.map(() => names.map(() => 0));
  for (const row of rows) counts[at.get(String(row[actual]))!]![at.get(String(row[predicted]))!]! += Number(row[count]) || 0;
  const sums = counts.map((row) => row.reduce((a, b) => a + b, 0));
  const total = sums.reduce((a, b) => a + b, 0) || 1;
  return { names, counts, sums, right: counts.reduce((sum, row, i) => sum + row[i]!, 0) / total };
}
