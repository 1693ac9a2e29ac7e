"""Commit, branch, remote and the size of the uncommitted diff of the repository around a folder.

Asked of the `git` command: no prompt, no network, no lock, no index written, no program that the repository configures
for diffs; at most 5 s a question.
"""

import contextlib
import os
import signal
import subprocess
import threading
from typing import Any

from milepost.sdk.capture.redact import redact_text

_TIMEOUT_S = 5.0
_MAX_DIFF_BYTES = 64 * 1024 * 1024  # counting stops here; "diff_bytes" then says at least this much
_SETTINGS = ("-c", "core.fsmonitor=false", "-c", "core.quotePath=true", "--no-pager")
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
        size = _run(folder, "diff", "--no-ext-diff", "--no-textconv", "--no-color", base, "--", count_only=True)[1]
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


def _ask_or_none(folder: str, *arguments: str) -> str | None:
    """The answer, or None when git has none (exit code 1)."""
    code, _, answer, _ = _run(folder, *arguments)
    return answer or None if code == 0 else None


def _ask(folder: str, *arguments: str) -> str:
    code, _, answer, message = _run(folder, *arguments)
    if code != 0:
        raise _GitError(message.splitlines()[0][:300] if message else f"git {arguments[0]} ended with {code}")
    return answer


def _run(folder: str, *arguments: str, count_only: bool = False) -> tuple[int, int, str, str]:
    """Exit code, size of the output in bytes, output, messages. Raises _GitError after 5 s."""
    process = subprocess.Popen(
        ["git", *_SETTINGS, *arguments],
        cwd=folder,
        env={**os.environ, **_ENVIRONMENT},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if count_only else subprocess.PIPE,
        start_new_session=True,  # what git starts can be ended with it, and Ctrl-C stays with the program
    )
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        _end(process)

    watchdog = threading.Timer(_TIMEOUT_S, expire)
    watchdog.daemon = True
    watchdog.start()
    size, kept, message = 0, bytearray(), b""
    assert process.stdout is not None
    with process.stdout, process.stderr or contextlib.nullcontext():
        try:
            while chunk := os.read(process.stdout.fileno(), 65536):
                size += len(chunk)
                if not count_only:
                    kept += chunk
                if size >= _MAX_DIFF_BYTES:
                    _end(process)
                    break
            message = process.stderr.read() if process.stderr is not None else b""
            code = process.wait()
        finally:
            watchdog.cancel()
    if expired.is_set():
        raise _GitError(f"git {arguments[0]} took longer than {_TIMEOUT_S:g} s")
    if count_only and code != 0 and size < _MAX_DIFF_BYTES:
        raise _GitError(f"git {arguments[0]} ended with {code}")
    return (code, size, kept.decode("utf-8", "replace").strip(), message.decode("utf-8", "replace").strip())


def _end(process: "subprocess.Popen[bytes]") -> None:
    try:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except OSError:
        return  # it ended meanwhile
