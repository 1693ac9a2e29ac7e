/** The address is the state: what a screen shows can be read from its URL, so that links, back and reload work. */

export type Page =
  | { name: "projects" }
  | { name: "project"; project: string; tab: "charts" | "table" }
  | { name: "run"; project: string; run: string; tab: string }
  | { name: "compare"; project: string }
  | { name: "unknown" };

export interface Place {
  page: Page;
  query: URLSearchParams;
}

/** The screen that an address names. */
export function parse(path: string, search: string): Place {
  const query = new URLSearchParams(search);
  let parts: string[];
  try {
    parts = path.split("/").filter(Boolean).map(decodeURIComponent);
  } catch {
    return { page: { name: "unknown" }, query };
  }
  const [head, project, kind, run, tab] = parts;
  if (head === undefined) return { page: { name: "projects" }, query };
  if (head !== "p" || project === undefined || parts.length > 5) return { page: { name: "unknown" }, query };
  if (kind === undefined) return { page: { name: "project", project, tab: "charts" }, query };
  if (kind === "table" && run === undefined) return { page: { name: "project", project, tab: "table" }, query };
  if (kind === "compare" && run === undefined) return { page: { name: "compare", project }, query };
  if (kind === "runs" && run !== undefined) return { page: { name: "run", project, run, tab: tab ?? "overview" }, query };
  return { page: { name: "unknown" }, query };
}

/** The address of a screen. */
export function path(page: Page): string {
  const e = encodeURIComponent;
  switch (page.name) {
    case "projects":
    case "unknown":
      return "/";
    case "project":
      return `/p/${e(page.project)}${page.tab === "table" ? "/table" : ""}`;
    case "run":
      return `/p/${e(page.project)}/runs/${e(page.run)}${page.tab === "overview" ? "" : `/${e(page.tab)}`}`;
    case "compare":
      return `/p/${e(page.project)}/compare`;
  }
}

/** Query text that reads well: commas, colons and slashes stay as they are. */
export function queryText(query: URLSearchParams): string {
  const text = query.toString().replaceAll("%2C", ",").replaceAll("%3A", ":").replaceAll("%2F", "/");
  return text ? `?${text}` : "";
}
