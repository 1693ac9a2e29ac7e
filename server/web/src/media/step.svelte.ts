/** The step that all media show: moved in one panel, it moves in all. null: the latest. */
class MediaStep {
  step = $state<number | null>(null);
  synced = $state(true);
  boxes = $state(true);
  masks = $state(true);
  /** sets of boxes and masks, and classes, that are switched off */
  hidden = $state.raw<ReadonlySet<string>>(new Set());

  toggle(name: string): void {
    const hidden = new Set(this.hidden);
    if (!hidden.delete(name)) hidden.add(name);
    this.hidden = hidden;
  }
}

export const shared = new MediaStep();
