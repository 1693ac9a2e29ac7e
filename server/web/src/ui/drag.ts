/** Follow a pointer that is down until it is let go. moved: told how far it is from where it began, to the right, in pixels. */
export function follow(event: PointerEvent, moved: (by: number) => void): void {
  event.preventDefault();
  const start = event.clientX;
  const move = (now: PointerEvent) => moved(now.clientX - start);
  const up = () => {
    removeEventListener("pointermove", move);
    removeEventListener("pointerup", up);
    removeEventListener("pointercancel", up);
  };
  addEventListener("pointermove", move);
  addEventListener("pointerup", up);
  addEventListener("pointercancel", up);
}
