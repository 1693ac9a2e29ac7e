/** Terminal text as spans: colours and weight are kept, every other control sequence is left out. Never HTML. */

export interface Span {
  text: string;
  /** class names a1, a31, ...: the codes of the terminal that hold here */
  style: string;
}

const SEQUENCE = /\x1b\[([0-9;]*)m|\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-_]|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f]/g;

export function ansi(line: string): Span[] {
  if (!/[\x00-\x1f\x7f]/.test(line)) return [{ text: line, style: "" }];
  const found: Span[] = [];
  let codes = new Set<number>();
  let end = 0;
  const push = (text: string) => {
    if (text) found.push({ text, style: [...codes].map((code) => `a${code}`).join(" ") });
  };
  for (const match of line.matchAll(SEQUENCE)) {
    push(line.slice(end, match.index));
    end = match.index + match[0].length;
    if (match[1] === undefined) continue;
    const list = match[1].split(";").map(Number);
    for (let i = 0; i < list.length; i++) {
      const code = list[i]!;
      if (code === 38 || code === 48) {
        i += list[i + 1] === 5 ? 2 : 4; // a colour of 256 or of 16 million: left as it is
      } else if (code === 0) codes = new Set();
      else if (code === 39) codes = new Set([...codes].filter((one) => one < 30));
      else if (code === 22) codes = new Set([...codes].filter((one) => one > 2));
      else if (code === 1 || code === 2) codes.add(code);
      else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97)) codes = new Set([...[...codes].filter((one) => one < 30), code]);
    }
  }
  push(line.slice(end));
  return found.length ? found : [{ text: "", style: "" }];
}
