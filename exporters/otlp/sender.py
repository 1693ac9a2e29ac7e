"""Sender: one request to a back end, and what its answer means. Nothing is tried again here.

    taken     accepted, except `rejected` points or records (partial success), which never will be
    wait      nothing was taken, and the same request can be taken later: overload, an outage, or settings to be mended
    large     too large: half of it may be taken
    aged      the whole request is refused for the age or order of what it holds
    refused   something in the request is refused: it may be a single point
    failed    the back end says that it failed; whether the request is at fault cannot be told

Stock exporters take 3xx and partial success for success, and give a batch up after ten seconds. Settings that are wrong
(401, 403, 404, a redirect, another protocol on that port) are `wait`, with a reason that names the setting: rows stay.
"""

import re
from typing import Any, Final, Literal, Protocol

import msgspec

from milepost.exporters.otlp import wire
from milepost.exporters.otlp.target import Target

Outcome = Literal["taken", "wait", "large", "aged", "refused", "failed"]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one request.

    rejected: of "taken": points or records that were refused.      reason: why, with endpoint and setting where it is "wait".
    after_s:  the delay that the back end named.      doubtful: whether the request may have been taken all the same.
    """

    outcome: Outcome
    rejected: int = 0
    reason: str = ""
    after_s: float | None = None
    doubtful: bool = False


TAKEN: Final = Answer(outcome="taken")


class Sender(Protocol):
    """A way to one back end. Opens its connection with the first request."""

    def send(self, request: Any) -> Answer:
        """Send one request, as its encoder made it, and wait for its answer; never raises for what the network does.

        b"" is a request that holds nothing.
        """
        ...

    def close(self) -> None:
        """Close the connection; a later send opens a new one."""
        ...


_AGED: Final = (
    r"(?i)out[ -]of[ -]order|too[ -]old|out[ -]of[ -]bounds|duplicate (sample|timestamp)|duplicate-timestamp"
    r"|too far (behind|in the (past|future))|too-far-in-(past|future)|timestamp[ -]too[ -](old|new)|max[ -]age"
)


def is_aged(text: str) -> bool:
    """Whether a refusal is about the age or order of samples, as Prometheus, Mimir and Loki say it."""
    return re.search(_AGED, text) is not None


def unreadable(target: Target) -> str:
    """Which file of `tls` cannot be read and why, with its option; "" when all can."""
    for option in ("ca_file", "cert_file", "key_file"):
        path = getattr(target, option)
        if target.secure and path is not None:
            try:
                with open(path, "rb"):
                    pass
            except OSError as error:
                return f"tls cannot be used: {path} cannot be read ({error.strerror}); look at tls: {{{option}: ...}}"
    return ""


def partial_success(body: bytes) -> Answer:
    """The answer to a request that was accepted: an Export...ServiceResponse, whose field 1 holds a count and a text."""
    try:
        for field, value in wire.fields(body):
            if field == 1 and isinstance(value, bytes):
                found = dict(wire.fields(value))
                count, message = found.get(1, 0), found.get(2, b"")
                rejected = max(wire.signed(count), 0) if isinstance(count, int) else 0
                said = message.decode("utf-8", "replace") if isinstance(message, bytes) else ""
                return Answer(outcome="taken", rejected=rejected, reason=short(said))
    except wire.Malformed:
        pass  # an answer that is no message, of a back end that took the request
    return TAKEN


def short(text: str, limit: int = 200) -> str:
    """A foreign text on one line of bounded length."""
    line = " ".join(text.split())
    line = "".join(character if character.isprintable() else "?" for character in line)
    return line if len(line) <= limit else f"{line[:limit]}..."
