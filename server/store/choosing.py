"""Choosing: whose rows are meant when somebody asks for a run's, and what of them later starts took back."""

from milepost.sdk.errors import UsageError
from milepost.sdk.reading.wish import Cut
from milepost.server.store.live import LiveRun, WriterState


def chosen_writers(live: LiveRun, writer: str | int | None) -> list[WriterState]:
    """The writers by rank, id, "all", or None for those that speak for the run. Raises `UsageError` when there is none."""
    if writer is None:
        return live.speaking()
    members = live.members()
    if writer == "all":
        return members
    if isinstance(writer, int):
        chosen = [w for w in members if w.rank == writer and not w.parent]
        ranks = sorted({w.rank for w in members if w.rank is not None})
        known = f"its ranks: {', '.join(map(str, ranks)) or 'none'}"
        if not chosen and writer == 0 and not ranks:
            chosen = live.speaking()
    else:
        chosen = [w for w in live.kept.writers.values() if w.name == writer]
        every = sorted(live.kept.writers.values(), key=lambda w: (w.attempt, w.started, w.name))
        known = f"its writers: {', '.join(w.name for w in every) or 'none'}"
    if not chosen:
        raise UsageError(f"the run {live.project}/{live.name} has no writer {writer!r}; {known}")
    return chosen


def cuts_of(live: LiveRun, writers: list[WriterState]) -> dict[str, list[Cut]]:
    """What of each writer is taken back, by name."""
    members = live.members()
    return {writer.name: _cuts(writer, members) for writer in writers}


def _cuts(writer: WriterState, members: list[WriterState]) -> list[Cut]:
    """What later starts of the same rank, and the writer itself, took back."""
    cuts: list[Cut] = []
    for other in members:
        same = other.name == writer.name
        later = (other.started, other.name) > (writer.started, writer.name)
        if same or (later and not other.parent and other.rank == writer.rank):
            cuts += [Cut(seq if same else 2**63 - 1, step) for seq, step in other.rewinds]
    return cuts
