"""Logs of the server on standard error: a line for people, or an object of JSON for programs, written by a thread of its own.

    2026-11-25 11:20:01.123 info    POST /api/v1/history 200 3.41 ms, 120 bytes in, 20,123 out, first, 127.0.0.1, 9b1c63a0e2f54d77
    {"time":"2026-11-25T11:20:01.123Z","level":"info","logger":"milepost.server.requests","message":"...","request_id":"9b1c..."}

Whoever reads them may be slow: 10,000 records wait, more are left out, and how many is logged once there is room again.
"""

import datetime
import logging
import queue
import sys
import threading
from logging.handlers import QueueHandler
from typing import Any, Final, TextIO

import msgspec

from milepost.sdk.strict_json import jsonable

LEVELS: Final = ("debug", "info", "warning", "error")
FORMATS: Final = ("text", "json")
MOST_WAITING: Final = 10_000
STOP_S: Final = 5.0

_NAMES: Final = ("milepost", "uvicorn")


class AsText(logging.Formatter):
    """A line for people; a traceback below it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        moment = _moment(record).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        text = f"{moment} {record.levelname.lower():7} {_message(record)}"
        facts = _facts(record)
        if facts:
            text += f", {facts['bytes_in']:,} bytes in, {facts['bytes_out']:,} out"
            text += "".join(f", {facts[name]}" for name in ("who", "client", "request_id") if facts[name])
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class AsJson(logging.Formatter):
    """An object in a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The object."""
        told: dict[str, Any] = {
            "time": _moment(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            **_facts(record),
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(jsonable(told)).decode()


def _moment(record: logging.LogRecord) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(record.created, datetime.UTC)


def _message(record: logging.LogRecord) -> str:
    return record.getMessage().removeprefix("milepost: ")


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    facts: dict[str, Any] = getattr(record, "facts", {})
    return facts


class _Waiting(QueueHandler):
    """Puts records into the queue as they are; counts those for which there is no room."""

    def __init__(self) -> None:
        self.records: queue.Queue[Any] = queue.Queue(MOST_WAITING)
        super().__init__(self.records)
        self.left_out = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """The record itself: it stays in this process, and its formatter wants all of it."""
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        """Put it in, or count it."""
        try:
            if self.left_out:
                text = f"{self.left_out:,} records were left out: nobody read the log"
                self.records.put_nowait(logging.LogRecord("milepost.server", logging.WARNING, "", 0, text, (), None))
                self.left_out = 0
            self.records.put_nowait(record)
        except queue.Full:
            self.left_out += 1


class Logs:
    """The logs of a server process, from now until `stop`. level: of LEVELS; form: of FORMATS."""

    def __init__(self, level: str, form: str, stream: TextIO | None = None) -> None:
        self._target = logging.StreamHandler(stream or sys.stderr)
        self._target.setFormatter(AsJson() if form == "json" else AsText())
        self._handler = _Waiting()
        self._thread = threading.Thread(target=self._write, name="milepost-log", daemon=True)
        for name in _NAMES:
            logger = logging.getLogger(name)
            logger.handlers[:] = [self._handler]
            logger.propagate = False
            logger.setLevel(level.upper())
        logging.getLogger("uvicorn").setLevel(max(logging.WARNING, logging.getLogger("milepost").level))
        self._thread.start()

    def _write(self) -> None:
        while (record := self._handler.records.get()) is not None:
            self._target.handle(record)

    def stop(self) -> None:
        """Write what waits, and end; without the rest when nobody reads it for 5 s."""
        for name in _NAMES:
            logging.getLogger(name).removeHandler(self._handler)
        try:
            self._handler.records.put(None, timeout=STOP_S)
        except queue.Full:
            return
        self._thread.join(STOP_S)
