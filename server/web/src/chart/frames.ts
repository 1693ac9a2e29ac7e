/** Heavy work, a little per frame: charts that scroll into sight do not stop the scrolling. */

const waiting: (() => void)[] = [];
let working = false;

/** Heavy things that one frame takes. They are drawn when it ends, which takes longer than the calls that this could time. */
const PER_FRAME = 2;

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
  for (let n = 0; n < PER_FRAME && waiting.length; n++) waiting.shift()!();
  if (waiting.length) requestAnimationFrame(next);
  else working = false;
}
