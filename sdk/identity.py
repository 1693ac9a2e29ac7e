"""Identity: what can be asked of a run, read only but for its name, tags and notes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from milepost.sdk.configuration import rules
from milepost.sdk.errors import DataError
from milepost.sdk.keeper import PROMISES
from milepost.sdk.recorder import Recorder
from milepost.sdk.snapshot import snapshot
from milepost.sdk.text import shown


class Identity(Recorder):
    """The answers, from the run's record and its writer. The base of `Run`."""

    @property
    def id(self) -> str:
        """The run's id, unique in its project."""
        return self._record.id

    @property
    def project(self) -> str:
        """The project's name."""
        return self._record.project

    @property
    def name(self) -> str:
        """The name shown to people."""
        return self._record.name

    @name.setter
    def name(self, value: str) -> None:
        if not isinstance(value, str):
            raise _wrong("name", "a text", value)
        self._set_meta(name=value)

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags; assign a sequence of texts to change them."""
        return self._record.tags

    @tags.setter
    def tags(self, value: Sequence[str] | None) -> None:
        given = [value] if isinstance(value, str) else value or ()
        if isinstance(given, (Mapping, bytes)) or not isinstance(given, Iterable):
            raise _wrong("tags", "a list of texts", value)
        tags = tuple(given)
        for tag in tags:
            if not isinstance(tag, str):
                raise _wrong("tags", "a list of texts", tag)
            if problem := rules.tag(tag):
                raise DataError(f"run.tags: each {problem}: {shown(tag)}. The run is unchanged.")
        self._set_meta(tags=tuple(dict.fromkeys(tags)))

    @property
    def notes(self) -> str | None:
        """Free text."""
        return self._record.notes

    @notes.setter
    def notes(self, value: str | None) -> None:
        if value is not None and not isinstance(value, str):
            raise _wrong("notes", "a text or None", value)
        self._set_meta(notes=value)

    def _set_meta(self, **values: Any) -> None:
        clean = snapshot(values)
        with self._alone():
            self._check_running(next(iter(values)))
            self._record.change(
                {key: tuple(value) if isinstance(value, list) else value for key, value in clean.items()}
            )
            self._event("meta", clean)

    @property
    def group(self) -> str | None:
        """The group of runs it belongs to."""
        return self._record.group

    @property
    def job_type(self) -> str | None:
        """What it does within its group: train, eval, ..."""
        return self._record.job_type

    @property
    def dir(self) -> str:
        """The run's directory."""
        return str(self._record.dir)

    @property
    def step(self) -> int:
        """The step that the next value lands in."""
        return self._step

    @property
    def starting_step(self) -> int:
        """The step this process began with; more than 0 for a resumed run."""
        return self._record.start_step

    @property
    def state(self) -> str:
        """ "running", "finished", "failed" or "preempted"."""
        return self._record.state

    @property
    def resumed(self) -> bool:
        """Whether it goes on from an earlier process."""
        return self._record.resumed

    @property
    def attempt(self) -> int:
        """1 for the first start of this id; one more each time it was started anew without resume."""
        return self._record.attempt

    @property
    def rank(self) -> int | None:
        """The place in a distributed job, or None."""
        return self._record.rank

    @property
    def writer(self) -> str:
        """The id of this process as a writer of the run."""
        return self._writer.id

    @property
    def promise(self) -> str:
        """What a crash can cost here, as one sentence."""
        return PROMISES[self._writer.promise]

    @property
    def start_time(self) -> float:
        """When this process began the run, in seconds since 1970."""
        return self._writer.started_unix_nano / 1e9

    @property
    def mode(self) -> str:
        """ "online" or "offline"."""
        return self._record.mode

    @property
    def offline(self) -> bool:
        """Whether nothing is sent over a network."""
        return self._record.mode == "offline"

    @property
    def disabled(self) -> bool:
        """False: a disabled run is a `DisabledRun`."""
        return False

    @property
    def entity(self) -> None:
        """None: milepost has no entities."""
        return

    @property
    def url(self) -> None:
        """None: no page of a server belongs to this run."""
        return


def _wrong(name: str, wanted: str, value: object) -> DataError:
    """The error of an attribute that was given something else, as init() has it."""
    return DataError(f"run.{name} must be {wanted}, got {shown(value)}. The run is unchanged.")
