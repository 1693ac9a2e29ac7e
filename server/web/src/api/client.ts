/** Calls of the server's API. Errors are `Failure`: what went wrong, in the server's words, and whether trying again may help. */

import { decode } from "./msgpack";
import type { Column, Console, FileItem, GroupPage, HistoryAnswer, HistoryRequest, Info, MediaPage, Project, ProjectKey, RunDetail, RunKey, RunPage, View, Views } from "./model";

const BASE = "/api/v1";

export class Failure extends Error {
  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail: string,
  ) {
    super(detail || title);
  }
  /** The server could not be reached, or is busy: the same request may succeed later. */
  get passing(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 502;
  }
}

/** Seconds from one clock to another that are no matter. */
const EVEN_S = 10;
let ahead_s = 0;

/** Now by the clock of the server, in seconds since 1970: that of the browser may be wrong, and "3 m ago" with it. */
export function serverNow(): number {
  return Date.now() / 1000 + ahead_s;
}

function compare(date: string | null): void {
  const by = Date.parse(date ?? "") / 1000 - Date.now() / 1000;
  if (Number.isFinite(by)) ahead_s = Math.abs(by) > EVEN_S ? by : 0;
}

let locked: () => void = () => undefined;

/** What to do when the server wants a key that it has not got. */
export function onLocked(then: () => void): void {
  locked = then;
}

async function call<T>(path: string, options: RequestInit = {}): Promise<T> {
  return (await (await answer(path, options)).json()) as T;
}

async function answer(path: string, options: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(BASE + path, { credentials: "same-origin", ...options });
  } catch (error) {
    if ((error as Error).name === "AbortError") throw error;
    throw new Failure(0, "the server cannot be reached", "The server cannot be reached. Is `milepost server` still running?");
  }
  compare(response.headers.get("date"));
  if (response.status === 401 && path !== "/login") locked();
  if (!response.ok) {
    let title = `${response.status} ${response.statusText}`;
    let detail = "";
    try {
      const problem = (await response.json()) as { title?: string; detail?: string };
      title = problem.title ?? title;
      detail = problem.detail ?? "";
    } catch {
      // not one of the server's own answers
    }
    throw new Failure(response.status, title, detail);
  }
  return response;
}

function query(values: Record<string, string | number | boolean | readonly string[] | null | undefined>): string {
  const text = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value === null || value === undefined || value === "") continue;
    if (Array.isArray(value)) for (const each of value as readonly string[]) text.append(name, each);
    else text.set(name, String(value));
  }
  const all = text.toString();
  return all ? `?${all}` : "";
}

function post<T>(path: string, body: unknown, signal?: AbortSignal): Promise<T> {
  return call<T>(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), ...(signal ? { signal } : {}) });
}

/** Curves, their columns as arrays: as text they would be twice the bytes, and take the page's thread to read. */
async function history(asked: HistoryRequest, signal?: AbortSignal): Promise<HistoryAnswer> {
  const headers = { "Content-Type": "application/json", Accept: "application/msgpack" };
  const found = await answer("/history", { method: "POST", headers, body: JSON.stringify(asked), ...(signal ? { signal } : {}) });
  return decode(await found.arrayBuffer()) as HistoryAnswer;
}

const e = encodeURIComponent;
const project = (name: string) => `/projects/${e(name)}`;
const run = (of: string, id: string) => `/runs/${e(of)}/${e(id)}`;
const signalled = (signal?: AbortSignal): RequestInit => (signal ? { signal } : {});

export interface RunQuery {
  filter?: string | null;
  sort?: string | null;
  order?: "asc" | "desc";
  offset?: number;
  limit?: number;
  columns?: readonly string[];
  /** tell the group of each run by this column */
  by?: string | null;
  /** runs of this group only */
  group_key?: string | null;
}

export interface GroupQuery {
  by: string;
  filter: string | null;
  /** figures of which columns */
  columns: readonly string[];
  offset?: number;
  limit?: number;
  /** so many runs of each group, in this order */
  first?: number;
  run_sort?: string;
  run_order?: "asc" | "desc";
}

export const api = {
  info: () => call<Info>("/info"),
  login: (key: string) => post<{ id: string; scopes: string[]; project: string | null }>("/login", { key }),
  /** End the session of this browser, on the server. */
  logout: async () => void (await answer("/logout", { method: "POST" })),
  projects: async () => (await call<{ projects: Project[] }>("/projects")).projects,
  runs: (of: string, asked: RunQuery, signal?: AbortSignal) => call<RunPage>(`${project(of)}/runs${query({ ...asked })}`, signalled(signal)),
  groups: (of: string, asked: GroupQuery) => call<GroupPage>(`${project(of)}/groups${query({ ...asked })}`),
  run: (of: string, id: string) => call<RunDetail>(run(of, id)),
  columns: async (of: string, search = "", limit = 1000) => (await call<{ columns: Column[] }>(`${project(of)}/columns${query({ search, limit })}`)).columns,
  /** search: a part of their names. total: how many there are beside the first ones. */
  keys: (of: string, runs: readonly string[], search = "") => call<{ total: number; keys: ProjectKey[] }>(`${project(of)}/keys${query({ runs, search, limit: 5000 })}`),
  runKeys: async (of: string, id: string) => (await call<{ keys: RunKey[] }>(`${run(of, id)}/keys${query({ limit: 5000 })}`)).keys,
  history,
  media: (of: string, id: string, asked: { key?: readonly string[]; step?: number; limit?: number; offset?: number }) =>
    call<MediaPage>(`${run(of, id)}/media${query(asked)}`),
  rows: async (of: string, id: string, keys: readonly string[], limit: number) =>
    (await call<{ rows: Record<string, unknown>[] }>(`${run(of, id)}/rows${query({ keys, limit, format: "json" })}`)).rows,
  files: async (of: string, id: string) => (await call<{ files: FileItem[] }>(`${run(of, id)}/files`)).files,
  console: (of: string, id: string, offset = 0, limit = 5000) => call<Console>(`${run(of, id)}/console${query({ offset, limit })}`),
  system: async (of: string, id: string) => decode(await (await answer(`${run(of, id)}/system`, {})).arrayBuffer()) as Record<string, unknown>[],
  views: (of: string) => call<Views>(`${project(of)}/views`),
  view: (of: string, id: string) => call<View>(`${project(of)}/views/${e(id)}`),
  saveView: (of: string, view: { name: string; screen: View["screen"]; query: string }) => post<View>(`${project(of)}/views`, view),
  changeView: (of: string, id: string, change: { name?: string; screen?: View["screen"]; query?: string; default?: boolean }) =>
    call<View>(`${project(of)}/views/${e(id)}`, { method: "PATCH", headers: { "Content-Type": "application/json" }, body: JSON.stringify(change) }),
  deleteView: (of: string, id: string) => call<View>(`${project(of)}/views/${e(id)}`, { method: "DELETE" }),
  edit: (changes: { runs: string[]; name?: string; notes?: string; add_tags?: string[]; remove_tags?: string[]; archive?: boolean; delete?: boolean }) =>
    post<{ changed: number; missing: string[] }>("/bulk", changes),
};
