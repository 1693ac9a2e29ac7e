"""Every error milepost raises, drawn once.

    Error                        wrong use: log() before init(), a method after finish(), a bad argument
    |- DataError                 data that cannot be logged; also a ValueError and a TypeError
    |  `- MediaFileError         a media file that is not there; also a FileNotFoundError
    |- UsageError                a call that this run, in this state, cannot answer
    |  `- UnknownAttributeError  a name that a run does not have, or that cannot be set; also an AttributeError
    |- ConfigurationError        a config file, setting or environment variable that is wrong; also a ValueError
    |- UnreachableError          a server that does not answer, or not now
    |- RunNotFoundError          a run or directory that is not there; also a LookupError
    `- MissingDependencyError    an optional package is needed; names the pip command; also an ImportError

What goes wrong inside (a full disk, a dead back end, an exporter that raises) is never raised into the program: it is
reported once, counted, and retried from the journal.
"""

import errno
from collections.abc import Sequence


class Error(Exception):
    """Wrong use of milepost, such as `log()` before `init()`. Base of all errors below."""


class DataError(Error, ValueError, TypeError):
    """Data that cannot be logged. Names the key, the type and what is accepted; nothing of that call is stored."""


class MediaFileError(DataError, FileNotFoundError):
    """A file that was to be logged as media is not there."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.errno = errno.ENOENT


class UsageError(Error):
    """A call that this run cannot answer in its state, such as `log()` after `finish()`, or a bad argument of `init()`."""


class UnknownAttributeError(UsageError, AttributeError):
    """Something was assigned to a name that a run does not have, such as `run.note`, or that cannot be changed."""


class ConfigurationError(Error, ValueError):
    """A wrong config file, setting or environment variable.

    errors: one text per mistake, each with its place (file:line, path), value, rule and nearest valid name.
    """

    def __init__(self, message: str, errors: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.errors: list[str] = list(errors) or [message]


class UnreachableError(Error):
    """A server that cannot be reached, or cannot answer now: the same may work later."""


class RunNotFoundError(Error, LookupError):
    """No such run, project or runs directory."""


class MissingDependencyError(Error, ImportError):
    """An optional package is not installed; the text holds the pip command that installs it."""
