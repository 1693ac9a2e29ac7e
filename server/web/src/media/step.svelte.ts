/** The step that all media show: moved in one panel, it moves in all. null: the latest. */
class MediaStep {
  step = $state<number | null>(null);
  synced = $state(true);
  boxes = $state(true);
  masks = $state(true);
  /** sets of boxes and masks, and classes, that are switched off */
  hidden = $state.raw<ReadonlySet<string>>(new Set());
  /** the steps of each panel that is seen */
  private readonly panels = new Set<readonly number[]>();

  toggle(name: string): void {
    const hidden = new Set(this.hidden);
    if (!hidden.delete(name)) hidden.add(name);
    this.hidden = hidden;
  }

  /** A panel has these steps, until the returned function is called. */
  join(steps: readonly number[]): () => void {
    this.panels.add(steps);
    return () => this.panels.delete(steps);
  }

  /** To the next step that any panel has, or to the one before. */
  move(by: number): void {
    const all = [...new Set([...this.panels].flat())].sort((a, b) => a - b);
    const now = this.step;
    const at = now === null ? all.length - 1 : all.findLastIndex((step) => step <= now);
    const to = Math.max(0, Math.min(all.length - 1, at + by));
    this.step = to === all.length - 1 ? null : (all[to] ?? null);
  }
}

export const shared = new MediaStep();
