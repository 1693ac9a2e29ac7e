/** Live changes: one stream of server-sent events per tab, passed on to who shows the run.
 *
 * The stream says that something happened to a run, never what it logged: charts then ask for what came after their watermark.
 */

import { untrack } from "svelte";
import { serverNow } from "../api/client";

export interface Change {
  version: number;
  kind: "run" | "rows" | "deleted" | "all";
  project: string;
  run: string;
  facts: Record<string, unknown>;
}

const ALL: Change = { version: 0, kind: "all", project: "", run: "", facts: {} };
const SILENT_MS = 40_000;
const FIRST_MS = 1500;

type Listener = (change: Change) => void;

class Connection {
  state = $state<"idle" | "connecting" | "open" | "lost">("idle");
  private source: EventSource | null = null;
  private readonly listeners = new Set<Listener>();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private dead: ReturnType<typeof setTimeout> | undefined;
  private wait = 1000;
  /** When it was lost, in milliseconds since 1970. */
  since = $state<number | null>(null);

  constructor() {
    addEventListener("offline", () => this.source && this.lost());
    addEventListener("online", () => {
      if (this.state !== "lost") return;
      this.wait = 1000;
      this.open();
    });
  }

  /** Hear of changes until the returned function is called. */
  listen(listener: Listener): () => void {
    this.listeners.add(listener);
    if (!this.source) untrack(() => this.open()); // who listens in an effect does not depend on how the connection fares
    return () => {
      this.listeners.delete(listener);
    };
  }

  private open(): void {
    clearTimeout(this.timer);
    if (this.state === "idle") this.state = "connecting";
    const first = this.state !== "lost";
    const source = new EventSource("/api/v1/events");
    this.source = source;
    source.onopen = () => {
      this.state = "open";
      this.since = null;
      this.wait = 1000;
      this.watch();
      // What happened while the stream was down is not known, nor what did between the first answers and its beginning:
      // everybody asks once for what came after what they have.
      if (first) setTimeout(() => this.tell(ALL), FIRST_MS);
      else this.tell(ALL);
    };
    source.onerror = () => this.lost();
    source.addEventListener("quiet", () => this.watch());
    for (const kind of ["run", "rows", "deleted", "reset"]) {
      source.addEventListener(kind, (event) => this.received(kind, (event as MessageEvent<string>).data));
    }
  }

  /** A connection may die without a word, as when a laptop sleeps: the server says something every 15 seconds. */
  private watch(): void {
    clearTimeout(this.dead);
    this.dead = setTimeout(() => this.lost(), SILENT_MS);
  }

  private lost(): void {
    clearTimeout(this.dead);
    clearTimeout(this.timer);
    this.source?.close();
    this.state = "lost";
    this.since ??= Date.now();
    this.timer = setTimeout(() => this.open(), this.wait);
    this.wait = Math.min(this.wait * 2, 15000);
  }

  private received(kind: string, data: string): void {
    this.watch();
    let told: Partial<Change>;
    try {
      told = JSON.parse(data) as Partial<Change>;
    } catch {
      return;
    }
    this.tell({
      version: told.version ?? 0,
      kind: kind === "reset" ? "all" : (kind as Change["kind"]),
      project: told.project ?? "",
      run: told.run ?? "",
      facts: told.facts ?? (told as Record<string, unknown>),
    });
  }

  private tell(change: Change): void {
    for (const listener of this.listeners) listener(change);
  }
}

export const connection = new Connection();

/** A clock for "3 m ago", by the server's time: right at once when that becomes known, and then every few seconds. */
class Clock {
  now = $state(serverNow());
  constructor() {
    setTimeout(() => (this.now = serverNow()), 1000);
    setInterval(() => (this.now = serverNow()), 5000);
  }
}
export const clock = new Clock();
