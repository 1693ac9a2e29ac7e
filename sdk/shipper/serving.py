"""Serving: one run in the shipper: its writers are found in its directory, each given to the fifos, until nothing is left.

Writers of this machine are served, living or dead, also those that no program handed over (children started with `spawn`);
those of other machines only when they are dead: a living one has a shipper of its own.
"""

import contextlib
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from milepost.sdk.configuration import Component
from milepost.sdk.cursor import load_cursor
from milepost.sdk.errors import Error
from milepost.sdk.journal import segment_name
from milepost.sdk.reading.alive import alive
from milepost.sdk.reading.files import writer_dirs
from milepost.sdk.recovery import recover
from milepost.sdk.route import wanted_without_rows
from milepost.sdk.routing import parts_of, routes_of
from milepost.sdk.shipper.fifo import Fifo, Standing, card, over
from milepost.sdk.shipper.plan import Plan, Shipped
from milepost.sdk.shipper.release import NOTE
from milepost.sdk.syncing import complete

logger = logging.getLogger("milepost")

SETTLED_S: Final = 1.0
MEDIA_S: Final = 600.0
REPEAT_S: Final = 600.0
"""How long a text is not said again."""
_Key = tuple[str, int, str]


class Served:
    """A run that the shipper serves.

    tell: called with what the run's programs should know; the shipper's own log gets it in any case.
    """

    def __init__(self, plan: Plan, tell: Callable[[str], None]) -> None:
        self.plan = plan
        self.run_dir = Path(plan.run_dir)
        self._tell = tell
        self._lock = threading.Lock()
        self._looked = False
        self._fifos: dict[_Key, Fifo] = {}
        self._known: set[Path] = set()
        self._said: dict[str, float] = {}
        self._recovery: threading.Thread | None = None
        self._gone: set[Path] = set()
        """Writers that are dead and have nothing left in shared memory."""
        self._routes: dict[str, tuple[Shipped, Component]] = {}
        self.wants: dict[str, tuple[str, ...]] = {}
        """The kinds of events that routes take which take no rows."""
        self.wrong: dict[str, str] = {}
        """Exporters that cannot be made here, and why."""
        self._expand()

    def _expand(self) -> None:
        routes: dict[str, tuple[Shipped, Component]] = {}
        wants: dict[str, tuple[str, ...]] = {}
        wrong: dict[str, str] = {}
        for each in self.plan.exporters:
            try:
                for made in routes_of(each.name, each.component()):  # once, to see whether they can be made
                    wants[made.name] = wanted_without_rows(made.exporter)
                for name, part in parts_of(each.name, each.component()).items():
                    routes[name] = (each, part)
            except Error as error:
                wrong[each.name] = str(error)
            except Exception as error:  # noqa: BLE001 - the import of foreign code
                wrong[each.name] = f"{type(error).__name__}: {error}"
        self._routes, self.wants, self.wrong = routes, wants, wrong  # each at once, for they are read without the lock

    @property
    def routes(self) -> list[str]:
        """The names of its routes."""
        return list(self._routes)

    def update(self, plan: Plan) -> None:
        """Another program of the run came, or the same one again: what it says of an exporter replaces what was known."""
        with self._lock:
            changed = [each for each in plan.exporters if each not in self.plan.exporters]
            names = {each.name for each in plan.exporters}
            kept = tuple(each for each in self.plan.exporters if each.name not in names)
            self.plan = msgspec.structs.replace(plan, exporters=(*plan.exporters, *kept))
            if changed:
                stale = {name for name, (each, _) in self._routes.items() if each.name in {c.name for c in changed}}
                for key in [key for key in self._fifos if key[0] in stale]:
                    self._fifos.pop(key).stop(5.0)
                self._expand()
                self._known.clear()
        self.look()

    def renew(self, plan: Plan) -> None:
        """Another run came, with other secrets for the same exporters: those that were in use here may be wrong or over."""
        newer = {each.name: each for each in plan.exporters}
        same = [
            newer[each.name]
            for each in self.plan.exporters
            if each.name in newer
            and (newer[each.name].exporter, newer[each.name].stored) == (each.exporter, each.stored)
        ]
        if same:
            self.update(msgspec.structs.replace(self.plan, exporters=tuple(same)))

    def look(self) -> None:
        """Find writers that are new, and give each to a fifo of every route."""
        with self._lock:
            fresh = [path for path in writer_dirs(self.run_dir) if path not in self._known]
            self._looked = True
            served: list[tuple[int, str, Path, dict[str, Any]]] = []
            for path in fresh:
                info = card(path)
                if info.get("host") in (None, os.uname().nodename) or not alive(path.name, info, path):
                    served.append((int(info.get("started_unix_nano") or 0), path.name, path, info))
            for _, _, path, info in sorted(served, key=lambda each: each[:2]):
                self._known.add(path)
                dead = over(path)
                for name in self._routes:
                    if not dead or something_left(path, name):
                        self._fifo(name, info).add_once(path)

    def _fifo(self, name: str, info: dict[str, Any]) -> Fifo:
        child = str(info.get("writer") or "") if info.get("parent") else ""
        key = (name, int(info.get("rank") or 0), child)
        fifo = self._fifos.get(key)
        if fifo is None:
            shipped, _ = self._routes[name]
            trimmed_by = (*self._routes, *self.plan.local) if self.plan.keep == "undelivered" else ()
            fifo = self._fifos[key] = Fifo(name, shipped.name, shipped.component(), trimmed_by, self.say)
            fifo.start()
        return fifo

    @property
    def recovering(self) -> bool:
        """Whether what dead writers left is being put in order."""
        return self._recovery is not None and self._recovery.is_alive()

    def recover(self) -> None:
        """Put away what dead writers of the run left in shared memory, and complete the run's files and media.

        On a thread of its own: a film may take minutes to encode, and other runs are looked after meanwhile.
        """
        if self.recovering:
            return
        dead: list[Path] = []
        for path in self._not_gone():
            info = card(path)
            if not alive(path.name, info, path):
                dead.append(path)
        if dead:
            self._recovery = threading.Thread(target=self._recover, args=(dead,), name="milepost-recover", daemon=True)
            self._recovery.start()

    def _recover(self, dead: list[Path]) -> None:
        try:
            recovered = recover(self.run_dir, settled_s=SETTLED_S)
            gone = {path for path in dead if over(path)}
            if gone and (self.run_dir / "media").is_dir():
                _finish_media(self.run_dir)
            for run_dir in recovered:
                complete(run_dir)
            with self._lock:
                self._gone |= gone
                for path in sorted(gone):  # what became of media was added behind what was delivered
                    for name in self._routes:
                        if something_left(path, name):
                            self._fifo(name, card(path)).add_again(path)
        except Exception:
            logger.exception("milepost: recovering %s failed; it is tried again", self.run_dir)

    def _not_gone(self) -> list[Path]:
        with self._lock:
            return sorted(self._known - self._gone)

    def say(self, text: str, writer_dir: Path) -> None:
        """Tell the log and the run's programs, the same thing not again for a while.

        What two signals of one exporter say alike, which differ in their paths at most, the programs hear once.
        """
        now = time.monotonic()
        if now - self._said.get(text, -REPEAT_S) < REPEAT_S or len(self._said) >= 200:
            return
        self._said[text] = now
        logger.warning("milepost: %s: %s", self.run_dir, text)
        alike = f"alike: {self._without_signals(text)}"
        if now - self._said.get(alike, -REPEAT_S) >= REPEAT_S:
            self._said[alike] = now
            self._tell(text)

    def _without_signals(self, text: str) -> str:
        for name, (each, _) in self._routes.items():
            if name != each.name:
                text = re.sub(rf"-?\b{re.escape(name.removeprefix(f'{each.name}-'))}\b", "", text)
        return text

    def standing(self, writer: str) -> list[Standing]:
        """How far each route is with a writer."""
        self.look()
        with self._lock:
            fifos = {key: fifo for key, fifo in self._fifos.items() if fifo.has(writer)}
        return [fifo.standing(writer) for fifo in fifos.values()]

    def hurry(self) -> None:
        """A program waits."""
        with self._lock:
            fifos = list(self._fifos.values())
        for fifo in fifos:
            fifo.hurry()

    @property
    def idle(self) -> bool:
        """Whether nothing is left and no writer lives; not before it was looked for any."""
        with self._lock:
            return self._looked and all(fifo.idle for fifo in self._fifos.values())

    @property
    def moved_at(self) -> float:
        """When something was delivered last (time.monotonic)."""
        with self._lock:
            return max((fifo.moved_at for fifo in self._fifos.values()), default=0.0)

    @property
    def living(self) -> bool:
        """Whether a writer of it lives on this machine."""
        return any(
            info.get("host") in (None, os.uname().nodename) and alive(path.name, info, path)
            for path in self._not_gone()
            for info in (card(path),)
        )

    def stop(self, timeout_s: float) -> bool:
        """End all fifos after the exports that are under way; whether they have ended."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            fifos = list(self._fifos.values())
        for fifo in fifos:
            fifo.stop(0.0)  # all of them are told before the first is waited for
        ended = [fifo.stop(max(deadline - time.monotonic(), 0.0)) for fifo in fifos]
        return all(ended)

    def note(self) -> list[str]:
        """Say in the run what is left and how it is delivered; the same as lines. Takes the note away when nothing is."""
        lines: list[str] = []
        with self._lock:
            for fifo in self._fifos.values():
                for path in fifo.left:
                    if over(path) and not something_left(path, fifo.name):
                        continue
                    cursor = load_cursor(path / f"cursor-{fifo.name}.json", fifo.name)
                    why = f" ({cursor.last_error})" if cursor.last_error else ""
                    lines.append(f"writer {path.name}: {fifo.name} does not have all of its {cursor.things}{why}")
            lines = list(dict.fromkeys(lines))  # a writer that was taken up again may be there twice
            lines += [f"{name}: cannot be made: {why}" for name, why in self.wrong.items()]
        note = self.run_dir / NOTE
        with contextlib.suppress(OSError):
            if lines:
                text = "\n".join(
                    [
                        *lines,
                        "",
                        "They are safe in the journal. Deliver them with:",
                        "",
                        f"  milepost sync {self.run_dir}",
                        "",
                    ]
                )
                note.write_text(text, encoding="utf-8")
            else:
                note.unlink(missing_ok=True)
        return lines


def _finish_media(run_dir: Path) -> None:
    """Encode what dead programs left of media, which their rows wait for: elsewhere, for the libraries take memory."""
    script = (
        "import sys; from pathlib import Path; from milepost.sdk.encoding.orphans import finish_media; "
        "finish_media(Path(sys.argv[1]))"
    )
    with contextlib.suppress(subprocess.SubprocessError, OSError):
        subprocess.run(
            [sys.executable, "-P", "-c", script, str(run_dir)], stdin=subprocess.DEVNULL, timeout=MEDIA_S, check=False
        )


def something_left(writer_dir: Path, name: str) -> bool:
    """Whether a dead writer's journal goes on behind an exporter's cursor; by the sizes of its files alone."""
    cursor = load_cursor(writer_dir / f"cursor-{name}.json", name)
    left = -cursor.offset
    index = cursor.segment
    while True:
        try:
            left += (writer_dir / segment_name(index)).stat().st_size
        except OSError:
            return left > 0
        index += 1
