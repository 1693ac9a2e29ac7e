"""Commit, branch, remote and the size of the uncommitted diff of the repository around a folder.

Asked of the `git` command: no prompt, no network, no lock, no index written, no program that the repository configures
for diffs; at most 5 s a question.
"""

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Generator, Iterator
from typing import Any

from milepost.sdk.capture.redact import redact_text

TIMEOUT_S = 5.0  # for one question
_LONGEST_LINE = 1024 * 1024
_MAX_DIFF_BYTES = 64 * 1024 * 1024  # counting stops here; "diff_bytes" then says at least this much
# Left alone, `git diff` writes the index that it refreshed, under a lock that a git command of the user may meet.
_SETTINGS = ("-c", "core.fsmonitor=false", "-c", "diff.autoRefreshIndex=false", "--no-pager")
# Without the refresh a file that was only touched appears as a header with nothing below it. A line of content never
# begins with "diff", so this finds headers only.
_EMPTY_DIFF = re.compile(rb"^diff --git [^\n]*\n(?=diff --git |\Z)", re.MULTILINE)
_ENVIRONMENT = {
    "GIT_OPTIONAL_LOCKS": "0",  # never refreshes the index beside a git command of the user
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "",
    "SSH_ASKPASS": "",
    "GIT_NO_LAZY_FETCH": "1",  # a partial clone would fetch what the diff misses; git >= 2.44
    "GIT_ALLOW_PROTOCOL": "none",  # the same for every git: no transport has this name
    "LC_ALL": "C",
}


class _GitError(Exception):
    """git said no; the text is what it said."""


def describe(folder: str) -> dict[str, Any] | None:
    """The state of the repository around `folder`; None outside of one.

    commit:     full hash, None before the first commit.  branch: None when HEAD is detached.
    remote:     URL of the branch's remote, else of `origin`, else of the first; credentials hidden.
    dirty:      whether tracked files (staged or not, submodules too) differ from the commit; untracked ones never do.
    diff_bytes: the size of `git diff HEAD`, counted up to 64 MiB; the diff itself is not kept.
    error:      why the later keys are missing, when git failed or took longer than 5 s.
    """
    described: dict[str, Any] = {}
    try:
        try:
            _ask(folder, "rev-parse", "--show-toplevel")
        except _GitError as error:
            if "not a git repository" in str(error):
                return None
            raise
        described["commit"] = _ask_or_none(folder, "rev-parse", "--verify", "--quiet", "HEAD")
        described["branch"] = _ask_or_none(folder, "symbolic-ref", "--short", "--quiet", "HEAD")
        described["remote"] = _remote(folder, described["branch"])
        base = described["commit"] or _ask(folder, "hash-object", "-t", "tree", os.devnull)
        size = _diff_bytes(folder, base)
        described["dirty"] = size > 0
        described["diff_bytes"] = size
    except FileNotFoundError:
        return {"error": "the git command is not installed, or the folder is gone"}
    except (_GitError, OSError) as error:
        described["error"] = str(error)
    return described


def _remote(folder: str, branch: str | None) -> str | None:
    """The URL as the configuration has it: `git remote get-url` would apply insteadOf rules, which may add a token."""
    answer = _ask_or_none(folder, "config", "--get-regexp", r"^(remote\..*\.url|branch\..*\.remote)$") or ""
    lines = [line.partition(" ") for line in reversed(answer.splitlines())]  # of two values of a key the first counts
    settings = {key: value for key, _, value in lines}
    own = settings.get(f"branch.{branch}.remote", "origin")
    urls = {key: value for key, value in settings.items() if key.startswith("remote.")}
    url = urls.get(f"remote.{own}.url") or urls.get("remote.origin.url") or next(reversed(urls.values()), None)
    return None if url is None else redact_text(url)


def _diff_bytes(folder: str, base: str) -> int:
    """The size of `git diff BASE`, without the headers of files that were touched and not changed."""
    size, rest = 0, b""
    with _git(
        folder, "diff", "--no-ext-diff", "--no-textconv", "--no-color", base, "--", stderr=subprocess.DEVNULL
    ) as process:
        for chunk in _chunks(process):
            data = rest + chunk
            # The last full line stays for the next round: what follows a header tells whether it is empty.
            cut = data.rfind(b"\n", 0, max(0, data.rfind(b"\n"))) + 1 if len(data) < _LONGEST_LINE else len(data)
            size += cut - sum(len(header[0]) for header in _EMPTY_DIFF.finditer(data) if header.end() <= cut)
            rest = data[cut:]
            if size >= _MAX_DIFF_BYTES:
                _end(process)
                return size
    if process.returncode != 0:
        raise _GitError(f"git diff ended with {process.returncode}")
    return size + len(_EMPTY_DIFF.sub(b"", rest))


def _ask_or_none(folder: str, *arguments: str) -> str | None:
    """The answer, or None when git has none."""
    code, answer, _ = _run(folder, *arguments)
    return answer or None if code == 0 else None


def _ask(folder: str, *arguments: str) -> str:
    code, answer, message = _run(folder, *arguments)
    if code != 0:
        raise _GitError(message.splitlines()[0][:300] if message else f"git {arguments[0]} ended with {code}")
    return answer


def _run(folder: str, *arguments: str) -> tuple[int, str, str]:
    """Exit code, output and messages of one git command."""
    with _git(folder, *arguments) as process:
        answer = b"".join(_chunks(process))
        assert process.stderr is not None
        message = process.stderr.read()
    return process.returncode, answer.decode("utf-8", "replace").strip(), message.decode("utf-8", "replace").strip()


@contextlib.contextmanager
def _git(folder: str, *arguments: str, stderr: int = subprocess.PIPE) -> "Generator[subprocess.Popen[bytes]]":
    """A running git, ended when it takes longer than 5 s; then _GitError."""
    process = subprocess.Popen(
        ["git", *_SETTINGS, *arguments],
        cwd=folder,
        env={**os.environ, **_ENVIRONMENT},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,  # read after the output: to be left out where git may warn about every file
        start_new_session=True,  # what git starts can be ended with it, and Ctrl-C stays with the program
    )
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        _end(process)

    watchdog = threading.Timer(TIMEOUT_S, expire)
    watchdog.daemon = True
    watchdog.start()
    try:
        with process:  # closes the pipes and waits
            yield process
    finally:
        watchdog.cancel()
    if expired.is_set():
        raise _GitError(f"git {arguments[0]} took longer than {TIMEOUT_S:g} s")


def _chunks(process: "subprocess.Popen[bytes]") -> Iterator[bytes]:
    assert process.stdout is not None
    while chunk := os.read(process.stdout.fileno(), 65536):
        yield chunk


def _end(process: "subprocess.Popen[bytes]") -> None:
    try:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except OSError:
        return  # it ended meanwhile
