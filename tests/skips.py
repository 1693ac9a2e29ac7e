"""A test that skips without anyone noticing is a defect: each skip is listed in tests/allowed_skips.txt, or the run fails.

A line of that file is `TEST | REASON`; `*` stands for any text in both. All skips are printed at the end of the run,
those that the file does not allow as failures. Under pytest-xdist the workers' skips are collected by the main process.
"""

import re
from pathlib import Path

import pytest

_ALLOWED = Path(__file__).with_name("allowed_skips.txt")
_skips: set[tuple[str, str]] = set()


def allowed_skips(text: str) -> list[tuple[re.Pattern[str], re.Pattern[str]]]:
    """The (test, reason) patterns of a list of allowed skips. Raises ValueError for a line without a reason."""
    patterns: list[tuple[re.Pattern[str], re.Pattern[str]]] = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        test, separator, reason = (part.strip() for part in line.partition("|"))
        if not (test and separator and reason):
            raise ValueError(f"{_ALLOWED.name}: {line!r} is not `TEST | REASON`; say why the test may skip")
        patterns.append((_pattern(test), _pattern(reason)))
    return patterns


def unexpected(skips: set[tuple[str, str]], text: str) -> list[tuple[str, str]]:
    """The skips, as (test, reason), that the list does not allow, sorted."""
    allowed = allowed_skips(text)
    return sorted(
        (test, reason)
        for test, reason in skips
        if not any(of_test.fullmatch(test) and of_reason.fullmatch(reason) for of_test, of_reason in allowed)
    )


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in text.split("*")), re.DOTALL)


def _remember(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _skips.add((report.nodeid, reason.removeprefix("Skipped: ")))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _remember(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _remember(report)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Take over what a worker of pytest-xdist skipped while it collected: the main process gets no report of it."""
    output = getattr(node, "workeroutput", {})
    _skips.update((test, reason) for test, reason in output.get("skips", []))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    worker_output = getattr(session.config, "workeroutput", None)
    if worker_output is not None:
        worker_output["skips"] = sorted(_skips)
    elif session.exitstatus == pytest.ExitCode.OK and unexpected(_skips, _ALLOWED.read_text(encoding="utf-8")):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    not_allowed = unexpected(_skips, _ALLOWED.read_text(encoding="utf-8"))
    if not _skips:
        return
    terminalreporter.section("skipped tests")
    for test, reason in sorted(_skips):
        terminalreporter.line(f"{'NOT ALLOWED' if (test, reason) in not_allowed else 'allowed'}  {test} | {reason}")
    if not_allowed:
        terminalreporter.line(
            f"{len(not_allowed)} tests were skipped that tests/{_ALLOWED.name} does not allow: provide what they need, "
            "or add the line shown above to that file.",
            red=True,
        )
