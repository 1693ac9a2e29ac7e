/** Live changes: one stream of server-sent events per tab, passed on to who shows the run.
 *
 * The stream says that something happened to a run, never what it logged: charts then ask for what came after their watermark.
 */

export interface Change {
  version: number;
  kind: "run" | "rows" | "deleted" | "all";
  project: string;
  run: string;
  facts: Record<string, unknown>;
}

type Listener = (change: Change) => void;

class Connection {
  state = $state<"idle" | "connecting" | "open" | "lost">("idle");
  private source: EventSource | null = null;
  private readonly listeners = new Set<Listener>();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private wait = 1000;

  /** Hear of changes until the returned function is called. */
  listen(listener: Listener): () => void {
    this.listeners.add(listener);
    if (!this.source) this.open();
    return () => {
      this.listeners.delete(listener);
    };
  }

  private open(): void {
    clearTimeout(this.timer);
    if (this.state === "idle") this.state = "connecting";
    const again = this.state === "lost";
    const source = new EventSource("/api/v1/events");
    this.source = source;
    source.onopen = () => {
      this.state = "open";
      this.wait = 1000;
      // What happened while the stream was down is not known: everybody asks once.
      if (again) this.tell({ version: 0, kind: "all", project: "", run: "", facts: {} });
    };
    source.onerror = () => {
      this.state = "lost";
      if (source.readyState === EventSource.CLOSED || source.readyState === EventSource.CONNECTING) {
        source.close();
        this.timer = setTimeout(() => this.open(), this.wait);
        this.wait = Math.min(this.wait * 2, 15000);
      }
    };
    for (const kind of ["run", "rows", "deleted", "reset"]) {
      source.addEventListener(kind, (event) => this.received(kind, (event as MessageEvent<string>).data));
    }
  }

  private received(kind: string, data: string): void {
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

/** A clock of whole seconds for "3 m ago". */
class Clock {
  now = $state(Date.now() / 1000);
  constructor() {
    setInterval(() => (this.now = Date.now() / 1000), 5000);
  }
}
export const clock = new Clock();
