/** Heavy work, one piece per frame: charts that scroll into sight do not stop the scrolling.
 *
 * A chart is drawn when its frame ends, which takes longer than the call that made it, so there is nothing here to time.
 */

const waiting: (() => void)[] = [];
let working = false;

/** Do something heavy soon. The returned function takes it back. */
export function whenFree(work: () => void): () => void {
  waiting.push(work);
  if (!working) {
    working = true;
    requestAnimationFrame(next);
  }
  return () => {
    const at = waiting.indexOf(work);
    if (at >= 0) waiting.splice(at, 1);
  };
}

function next(): void {
  waiting.shift()?.();
  if (waiting.length) requestAnimationFrame(next);
  else working = false;
}
