/** Short messages at the edge of the screen: what was done, or what failed and what to do. */
export const toasts = $state<{ id: number; text: string; kind: "info" | "error" }[]>([]);
let next = 0;

export function say(text: string, kind: "info" | "error" = "info"): void {
  if (toasts.some((toast) => toast.text === text)) return;
  const id = next++;
  toasts.push({ id, text, kind });
  setTimeout(() => dismiss(id), kind === "error" ? 10000 : 4000);
}

export function dismiss(id: number): void {
  const at = toasts.findIndex((toast) => toast.id === id);
  if (at >= 0) toasts.splice(at, 1);
}
