/** The keyboard map: what each key does on the screen that is shown, and the sheet that lists it. */

export interface Shortcut {
  /** As KeyboardEvent.key names it; "g p" is one after the other. */
  keys: string;
  does: string;
  run: (event: KeyboardEvent) => void;
  /** where the sheet lists it */
  group: string;
}

const layers: Shortcut[][] = [];
let pending = "";
let pendingTimer: ReturnType<typeof setTimeout> | undefined;

/** Add shortcuts while a component lives: call it in $effect. */
export function shortcuts(list: Shortcut[]): () => void {
  layers.push(list);
  return () => {
    const at = layers.indexOf(list);
    if (at >= 0) layers.splice(at, 1);
  };
}

/** What the keys do on something that has the focus (Tab goes there): it hears them itself, the sheet only lists them. */
export const ON_FOCUS: readonly (readonly [group: string, keys: readonly (readonly [keys: string, does: string])[]])[] = [
  ["On a chart", [["← →", "Read the values"], ["Home End", "First, last point"], ["+ -", "Zoom"], ["Enter", "Enlarge"]]],
  ["On media", [["← →", "Step before, next step"]]],
  ["On a 3D object", [["← → ↑ ↓", "Turn it"], ["+ -", "Zoom"], ["0", "All of it"], ["w", "Wireframe"]]],
  ["On a picture, enlarged", [["+ - 0", "Zoom, all of it"], [", .", "Step before, next step"]]],
  ["On the grip of a panel", [["← →", "Move it"], ["Shift ← → ↑ ↓", "Resize it"]]],
];

/** The order of the sheet, whatever is on the screen first. */
const GROUPS = ["Run", "Runs", "Charts", "Media", "Everywhere"];

/** What the sheet lists: keys that do the same stand together. */
export function listed(): Map<string, { keys: string[]; does: string }[]> {
  const groups = new Map<string, { keys: string[]; does: string }[]>(GROUPS.filter((group) => layers.flat().some((one) => one.group === group)).map((group) => [group, []]));
  for (const shortcut of layers.flat()) {
    const list = groups.get(shortcut.group) ?? [];
    const same = list.find((one) => one.does === shortcut.does);
    if (same) same.keys.push(shortcut.keys);
    else list.push({ keys: [shortcut.keys], does: shortcut.does });
    groups.set(shortcut.group, list);
  }
  return groups;
}

function typing(target: EventTarget | null): boolean {
  const element = target as HTMLElement | null;
  return !!element?.closest?.('input:not([type="checkbox"]):not([type="range"]), textarea, select, [contenteditable="true"]');
}

/** Whether an element has a use for a key of its own: what has the focus comes before the page. */
function used(target: EventTarget | null, key: string): boolean {
  const element = target as HTMLElement | null;
  if (key === "Enter" || key === " ") return !!element?.closest?.("button, a[href], summary, input");
  return key.startsWith("Arrow") && !!element?.closest?.('input[type="range"]');
}

export function onkeydown(event: KeyboardEvent): void {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (typing(event.target)) {
    if (event.key === "Escape") (event.target as HTMLElement).blur();
    return;
  }
  if (document.querySelector("dialog[open]") || used(event.target, event.key)) return;
  const name = pending ? `${pending} ${event.key}` : event.key;
  const all = layers.flat().reverse();
  clearTimeout(pendingTimer);
  pending = "";
  const found = all.find((shortcut) => shortcut.keys === name);
  if (found) {
    event.preventDefault();
    found.run(event);
  } else if (all.some((shortcut) => shortcut.keys.startsWith(`${name} `))) {
    pending = name;
    pendingTimer = setTimeout(() => (pending = ""), 1000);
  }
}
