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
