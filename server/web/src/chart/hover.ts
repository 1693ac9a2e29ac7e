/** The cursor that all charts of one axis share: where it is, and which chart it is in. */

type Listener = (x: number | null, axis: string, source: object) => void;

const listeners = new Set<Listener>();
let frame = 0;
let next: Parameters<Listener> | null = null;

export function onHover(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Tell the others, once per frame. */
export function hoverAt(x: number | null, axis: string, source: object): void {
  next = [x, axis, source];
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    if (next) for (const listener of listeners) listener(...next);
  });
}

const waiting: (() => void)[] = [];
let working = false;

/** Heavy things that one frame takes. They are drawn when it ends, which takes longer than the calls that this could time. */
const PER_FRAME = 2;

/** Do something heavy soon, few per frame: charts that scroll into sight do not stop the scrolling. */
export function whenFree(work: () => void): () => void {
  waiting.push(work);
  if (!working) {
    working = true;
    requestAnimationFrame(next1);
  }
  return () => {
    const at = waiting.indexOf(work);
    if (at >= 0) waiting.splice(at, 1);
  };
}

function next1(): void {
  for (let n = 0; n < PER_FRAME && waiting.length; n++) waiting.shift()!();
  if (waiting.length) requestAnimationFrame(next1);
  else working = false;
}
