/** Where the columns of the run table stand: their widths, which the browser keeps, and those that are in sight. */

import { store, stored } from "../state/preferences.svelte";

const USUAL: Record<string, number> = { name: 260, state: 100, created: 92, duration: 92, tags: 150, notes: 180, group: 110, job_type: 110 };
const OTHERS = 120;
export const NARROWEST = 60;
export const WIDEST = 1000;

export interface Column {
  name: string;
  /** its number in the table, the name of the run being 1 */
  index: number;
  left: number;
  width: number;
}

export class Columns {
  private widths = $state.raw<Record<string, number>>(stored("widths", {}));

  /** names: of the columns behind the name of the run. */
  constructor(private readonly names: () => readonly string[]) {}

  readonly first = $derived.by<Column>(() => ({ name: "name", index: 1, left: 0, width: this.width("name") }));
  readonly all = $derived.by<Column[]>(() => {
    let left = this.first.width;
    return this.names().map((name, i) => {
      const column = { name, index: i + 2, left, width: this.width(name) };
      left += column.width;
      return column;
    });
  });
  readonly total = $derived.by(() => {
    const last = this.all.at(-1) ?? this.first;
    return last.left + last.width;
  });

  /** Those that are in sight of somebody who has scrolled so far to the right. */
  seen(scrolled: number, width: number): Column[] {
    return this.all.filter((column) => column.left + column.width > scrolled && column.left < scrolled + width);
  }

  private width(name: string): number {
    return this.widths[name] ?? USUAL[name] ?? OTHERS;
  }

  /** Make a column so many pixels wide; null: as wide as it was made. */
  resize(name: string, width: number | null): void {
    const { [name]: _, ...others } = this.widths;
    this.widths = width === null ? others : { ...others, [name]: Math.max(NARROWEST, Math.min(WIDEST, Math.round(width))) };
    store("widths", this.widths);
  }
}
