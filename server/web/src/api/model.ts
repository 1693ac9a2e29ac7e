/** What the server answers, by the names of its OpenAPI file; scripts/page makes $schema from that. */

import type { components } from "$schema";

type Schemas = components["schemas"];

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
export type Info = Schemas["Info"];
export type Project = Schemas["Project"];
export type Run = Schemas["Run"];
export type RunPage = Schemas["RunPage"];
export type RunGroup = Schemas["RunGroup"];
export type GroupPage = Schemas["GroupPage"];
export type Figures = Schemas["Figures"];
export type RunDetail = Schemas["RunDetail"];
export type Column = Schemas["Column"];
export type ProjectKey = Schemas["ProjectKey"];
export type RunKey = Schemas["Key"];
export type HistoryRequest = Schemas["HistoryRequest"];
type Columns = "x" | "min" | "max" | "mean" | "last" | "count";
/** With its columns as arrays, NaN where nothing is finite. */
export type CurveAnswer = Omit<Schemas["Curve"], Columns> & Record<Columns, Float64Array>;
export type HistoryAnswer = Omit<Schemas["HistoryAnswer"], "series"> & { series: CurveAnswer[] };
export type MediaItem = Schemas["MediaItem"];
export type MediaPage = Schemas["MediaPage"];
export type FileItem = Schemas["FileItem"];
export type Console = Schemas["Console"];
export type View = Schemas["ViewModel"];
export type Views = Schemas["Views"];

/** A key as the sections show it. */
export interface Key {
  name: string;
  kind: string;
}

/** The kinds that are drawn as lines. A "mapping" is a number whose summary keeps several aggregates, such as best and last. */
export function isScalar(kind: string): boolean {
  return kind === "scalar" || kind === "system" || kind === "mapping";
}
