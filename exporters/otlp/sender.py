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


def unusable(target: Target) -> str:
    """What is wrong with the files of `tls`, with the options to look at; "" for nothing.

    Asked before a connection is made: grpcio ends the whole process where a certificate comes without its key.
    """
    if not target.secure:
        return ""
    for option in ("ca_file", "cert_file", "key_file"):
        path = getattr(target, option)
        if path is not None:
            try:
                with open(path, "rb"):
                    pass
            except OSError as error:
                return f"tls cannot be used: {path} cannot be read ({error.strerror}); look at tls: {{{option}: ...}}"
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if target.ca_file:
            context.load_verify_locations(target.ca_file)
    except ssl.SSLError as error:
        return f"tls cannot be used: {target.ca_file} holds no certificates ({error.reason}); look at tls: {{ca_file: ...}}"
    if target.key_file and not target.cert_file:
        return f"tls cannot be used: {target.key_file} is a key without its certificate; set tls: {{cert_file: ...}}"
    try:
        if target.cert_file:
            context.load_cert_chain(target.cert_file, target.key_file, password="")
    except ssl.SSLError as error:
        held = f"{target.cert_file} and {target.key_file} are not" if target.key_file else f"{target.cert_file} is not"
        return (
            f"tls cannot be used: {held} a certificate and its key, without a password ({error.reason or 'not PEM'}); "
            "look at tls: {cert_file: ..., key_file: ...}"
        )
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
