/** The filter language, as far as the page has to know it: which words may stand next, and what plain words mean.
 *
 * The server reads it; see docs: config.lr > 0.01 and summary.acc >= 0.9 and tags has "a"
 */

export const FIELDS = ["name", "id", "state", "group", "job_type", "tags", "notes", "created", "heartbeat", "finished", "duration", "rows", "last_step", "attempt", "archived"] as const;
const STATES = ["running", "finished", "failed", "crashed", "preempted"];
const SIGNS = ["==", "!=", "<", "<=", ">", ">=", "in", "not in", "contains", "like", "has"];

/** Whether the text is plain words to look for in names, and not an expression. */
export function isPlain(text: string): boolean {
  const trimmed = text.trim();
  if (trimmed === "" || /[=<>()[\]"'`]/.test(trimmed)) return false;
  const words = trimmed.split(/\s+/);
  if (words.some((word) => /^(config|summary)\./.test(word))) return false;
  if (words.some((word) => ["contains", "like", "has", "in", "and", "or", "not"].includes(word.toLowerCase()))) return false;
  return !(words.length === 1 && (FIELDS as readonly string[]).includes(trimmed));
}

/** Whether an expression may be at its end: while somebody types `config.lr > `, nothing is asked. */
export function isComplete(text: string): boolean {
  return text.trim() === "" || isPlain(text) || /(?:[\d\])"']|\b(?:true|false|null|archived))\s*$/.test(text);
}

/** What the server is asked: plain words stand for names, groups, notes and tags. */
export function effectiveFilter(text: string): string {
  const asked = text.trim();
  if (!isPlain(asked)) return asked;
  return asked
    .split(/\s+/)
    .map((word) => {
      const quoted = JSON.stringify(word);
      return `(name contains ${quoted} or id contains ${quoted} or group contains ${quoted} or notes contains ${quoted} or tags has ${quoted})`;
    })
    .join(" and ");
}

export interface Completion {
  text: string;
  /** what it is, said behind it */
  hint: string;
  /** characters before the caret that it replaces */
  replaces: number;
}

/** A name as the language writes it. */
export function written(name: string): string {
  return /^[A-Za-z_][\w./:%-]*$/.test(name) ? name : `\`${name}\``;
}

/** What may stand where the caret is. columns: names of config and summary columns with their kinds. */
export function completions(text: string, caret: number, columns: readonly { name: string; kind: string }[], limit = 12): Completion[] {
  const before = text.slice(0, caret);
  if ((before.match(/"/g)?.length ?? 0) % 2 === 1) {
    const part = before.slice(before.lastIndexOf('"') + 1);
    const field = /(\S+)\s*(?:==|!=|=|in\s*\[?|has)\s*[^=<>]*$/i.exec(before.slice(0, before.lastIndexOf('"')));
    if (field?.[1] !== "state") return [];
    return STATES.filter((state) => state.startsWith(part)).map((state) => ({ text: `${state}"`, hint: "state", replaces: part.length }));
  }
  const part = /[\w./:%`-]*$/.exec(before)?.[0] ?? "";
  const head = before.slice(0, before.length - part.length).trimEnd();
  const last = /(\S+)$/.exec(head)?.[1] ?? "";
  const wanted = part.replaceAll("`", "").toLowerCase();
  const make = (words: readonly string[], hint: string) =>
    words.filter((word) => word.toLowerCase().startsWith(wanted)).map((word) => ({ text: word, hint, replaces: part.length }));
  const isOperator = SIGNS.some((sign) => sign.split(" ").at(-1) === last.toLowerCase()) || last === "=";
  if (isOperator) {
    const field = head.split(/\s+/).at(-2);
    if (field === "state") return STATES.map((state) => ({ text: `"${state}"`, hint: "state", replaces: part.length }));
    return make(["true", "false", "null"], "value").filter(() => wanted !== "");
  }
  const complete = /(?:[\d\])"]|true|false|null)$/.test(head);
  if (complete) return make(["and", "or"], "connects");
  const isName = (word: string) => (FIELDS as readonly string[]).includes(word) || /^(config|summary)\./.test(word) || word.endsWith("`");
  if (head !== "" && isName(last)) return make(SIGNS, "compares");
  const fields = FIELDS.filter((name) => name.includes(wanted)).map((name) => ({ text: name, hint: "field", replaces: part.length }));
  const found = columns
    .filter((column) => column.name.toLowerCase().includes(wanted))
    .map((column) => ({ text: written(column.name), hint: column.kind, replaces: part.length }));
  const starts = (item: Completion) => (item.text.toLowerCase().startsWith(wanted) ? 0 : 1);
  return [...fields, ...found, ...make(["not"], "negates")].sort((a, b) => starts(a) - starts(b)).slice(0, limit);
}
