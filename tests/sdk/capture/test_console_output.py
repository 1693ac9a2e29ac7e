"""Console capture with real prints, threads, a fork and a subprocess."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest

from milepost.sdk.capture.console_output import ConsoleCapture

Lines = list[tuple[str, str]]


Streams = Callable[[], tuple[io.StringIO, io.StringIO]]


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> Streams:
    """Called inside the test (pytest puts its own streams back before that): standard output and error, in memory."""

    def put_in_place() -> tuple[io.StringIO, io.StringIO]:
        pair = (io.StringIO(), io.StringIO())
        monkeypatch.setattr(sys, "stdout", pair[0])
        monkeypatch.setattr(sys, "stderr", pair[1])
        return pair

    return put_in_place


@contextlib.contextmanager
def captured(emit: Callable[[str, str], None] | None = None, **options: Any) -> Generator[Lines]:
    lines: Lines = []
    capture = ConsoleCapture(emit or (lambda stream, text: lines.append((stream, text))), **options)
    capture.install()
    try:
        yield lines
    finally:
        capture.uninstall()


def test_each_printed_line_is_emitted_and_still_printed(streams: Streams) -> None:
    out, err = streams()
    with captured() as lines:
        print("one", 2)
        print("a\nb")
        print("oh", file=sys.stderr)
        sys.stdout.writelines(["x\n", "y\n"])

    assert lines == [
        ("stdout", "one 2"),
        ("stdout", "a"),
        ("stdout", "b"),
        ("stderr", "oh"),
        ("stdout", "x"),
        ("stdout", "y"),
    ]
    assert out.getvalue() == "one 2\na\nb\nx\ny\n"
    assert err.getvalue() == "oh\n"


def test_a_line_is_emitted_when_it_ends_and_the_last_one_at_uninstall(streams: Streams) -> None:
    streams()
    lines: Lines = []
    capture = ConsoleCapture(lambda stream, text: lines.append((stream, text)))
    capture.install()
    print("half", end="")
    before = list(lines)
    capture.uninstall()

    assert before == []
    assert lines == [("stdout", "half")]


def test_a_progress_bar_becomes_its_last_state(streams: Streams) -> None:
    streams()
    with captured() as lines:
        for percent in range(0, 101, 10):
            print(f"\r\x1b[32m{percent}%\x1b[0m", end="")
        print()
        print("windows line", end="\r\n")
        print("\rgone", end="\r    \r\n")

    assert lines == [("stdout", "100%"), ("stdout", "windows line")]


def test_bars_that_are_drawn_anew_above_the_cursor_appear_once(streams: Streams) -> None:
    streams()
    with captured() as lines:
        for step in range(50):  # as tqdm draws two bars
            print(f"\router {step}", end="")
            print(f"\n\rinner {step}\x1b[A", end="")
        print("\router done\ninner done")
        print("after")

    texts = [text for _, text in lines]
    assert texts[-3:] == ["outer done", "inner done", "after"]
    assert len(texts) <= 4


def test_colours_and_control_characters_are_left_out(streams: Streams) -> None:
    streams()
    with captured() as lines:
        print("\x1b[1;31mred\x1b[0m\tand\x07 \x1b]0;title\x07plain\x00")

    assert lines == [("stdout", "red\tand plain")]


def test_the_total_is_capped_with_one_note(streams: Streams) -> None:
    out, _ = streams()
    with captured(max_bytes=100) as lines:
        for _ in range(1000):
            print("x" * 30)
        print("more", file=sys.stderr)

    assert [text for _, text in lines] == ["x" * 30] * 3 + [
        "[milepost: console capture ended, 100 bytes are its limit]"
    ]
    assert len(out.getvalue()) == 31_000


def test_a_long_line_is_cut_and_says_by_how_much(streams: Streams) -> None:
    streams()
    with captured(max_line_chars=10) as lines:
        print("x" * 5_000_000)
        print("next")

    assert lines == [("stdout", "xxxxxxxxxx [4999990 more characters]"), ("stdout", "next")]


def test_secrets_are_hidden_in_what_is_captured_only(streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    out, _ = streams()
    monkeypatch.setenv("TEAM_TOKEN", "valueofthevariable")
    with captured() as lines:
        print("login with valueofthevariable, password: abc")
        print("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nafter")

    assert [text for _, text in lines] == ["login with ***, password: ***", "***", "after"]
    assert "valueofthevariable" in out.getvalue()


def test_a_secret_that_is_cut_by_the_line_limit_is_hidden(streams: Streams) -> None:
    streams()
    with captured(max_line_chars=20) as lines:
        print("0123456789 ghp_" + "a" * 36)

    assert lines == [("stdout", "0123456789 ***")]


def test_an_emit_that_prints_does_not_capture_itself(streams: Streams) -> None:
    out, _ = streams()

    def emit(stream: str, text: str) -> None:
        print(f"<{text}>")

    with captured(emit):
        print("a")

    assert out.getvalue() == "a\n<a>\n"


def test_an_emit_that_raises_is_counted_and_print_goes_on(streams: Streams) -> None:
    out, _ = streams()

    def emit(stream: str, text: str) -> None:
        raise RuntimeError("no disk")

    capture = ConsoleCapture(emit)
    capture.install()
    print("a")
    print("b")
    capture.uninstall()

    assert out.getvalue() == "a\nb\n"
    assert capture.failures == 2


def test_what_the_stream_refuses_raises_as_before(streams: Streams) -> None:
    out, _ = streams()
    with captured() as lines:
        with pytest.raises(TypeError):
            sys.stdout.write(b"bytes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        out.close()
        with pytest.raises(ValueError, match="closed"):
            print("x")

    assert lines == []


def test_text_that_is_not_utf8_is_emitted_escaped(streams: Streams) -> None:
    streams()
    with captured() as lines:
        print("name \udc80 é")

    assert lines == [("stdout", "name \\udc80 é")]


def test_uninstall_leaves_a_stream_that_somebody_else_put_there(streams: Streams) -> None:
    out, err = streams()
    theirs = io.StringIO()
    with captured() as lines:
        kept = sys.stdout
        sys.stdout = theirs
    assert sys.stdout is theirs
    assert sys.stderr is err

    sys.stdout = kept  # they put back what they found, after capture ended
    print("passes through")
    assert out.getvalue() == "passes through\n"
    assert lines == []


def test_output_redirected_by_the_program_is_not_captured(streams: Streams) -> None:
    streams()
    with captured() as lines:
        with contextlib.redirect_stdout(io.StringIO()) as theirs:
            print("theirs")
        print("ours")

    assert theirs.getvalue() == "theirs\n"
    assert lines == [("stdout", "ours")]


def test_the_stream_still_answers_as_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull, "w", encoding="latin-1") as file:
        monkeypatch.setattr(sys, "stdout", file)
        with captured():
            assert sys.stdout.encoding == "latin-1"
            assert sys.stdout.fileno() == file.fileno()
            assert sys.stdout.isatty() is False
            assert sys.stdout.buffer is file.buffer
            sys.stdout.flush()
            assert sys.stdout.write("four") == 4


def test_a_program_without_a_terminal_keeps_its_missing_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with captured() as lines:
        print("nowhere")
        print("err", file=sys.stderr)

    assert lines == [("stderr", "err")]
    assert sys.stdout is None


def test_lines_of_many_threads_stay_whole_and_in_order(streams: Streams) -> None:
    streams()
    with captured(max_bytes=10**9) as lines:

        def work(name: int) -> None:
            for number in range(500):
                sys.stdout.write(f"{name}:{number}\n")

        threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    for name in range(8):
        own = [text for _, text in lines if text.startswith(f"{name}:")]
        assert own == [f"{name}:{number}" for number in range(500)]


def test_a_thread_that_prints_under_a_lock_that_emit_wants_does_not_wait(
    streams: Streams,
) -> None:
    streams()
    run_lock = threading.Lock()
    emitting = threading.Event()
    lines: list[str] = []

    def emit(stream: str, text: str) -> None:
        emitting.set()
        with run_lock:
            lines.append(text)

    with captured(emit):
        with run_lock:
            other = threading.Thread(target=lambda: print("from the other thread"))
            other.start()
            assert emitting.wait(30)  # the other thread now emits, and waits for our lock
            print("printed under the lock")
        other.join(30)
        assert not other.is_alive()

    assert lines == ["from the other thread", "printed under the lock"]


def test_a_signal_handler_that_prints_does_not_deadlock(streams: Streams) -> None:
    out, _ = streams()

    def tick(number: int, frame: object) -> None:
        print("tick")

    previous = signal.signal(signal.SIGALRM, tick)
    try:
        with captured(max_bytes=10**9) as lines:
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
            for number in range(3000):
                sys.stdout.write(f"line {number}\n")
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)

    texts = [text for _, text in lines if text != "tick"]
    assert texts == [f"line {number}" for number in range(3000)]
    assert "tick\n" in out.getvalue()


def test_a_child_forked_while_threads_print_can_print_and_is_not_captured() -> None:
    """In a process of its own: the fork happens while another thread holds the capture's locks most of the time."""
    code = """
import os, sys, threading
from milepost.sdk.capture.console_output import ConsoleCapture
lines = []
capture = ConsoleCapture(lambda stream, text: lines.append(text), 10**9)
sys.stdout = open(os.devnull, "w")
capture.install()
stop = threading.Event()
def work():
    while not stop.is_set():
        print("x")
threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
for thread in threads:
    thread.start()
bad = 0
for _ in range(20):
    child = os.fork()
    if child == 0:
        count = len(lines)
        sys.stdout.write("child\\n")
        capture.uninstall()
        os._exit(0 if len(lines) == count and "child" not in lines else 1)
    bad += os.waitpid(child, 0)[1] != 0
stop.set()
for thread in threads:
    thread.join()  # one that prints while the interpreter ends may take it down
capture.uninstall()
sys.exit(bad or "child" in lines or "x" not in lines)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=100, check=False).returncode == 0


def test_a_subprocess_that_prints_goes_by_unseen_and_unharmed(capfd: pytest.CaptureFixture[str]) -> None:
    with captured() as lines, capfd.disabled():
        subprocess.run([sys.executable, "-c", "pass"], check=True, stdout=subprocess.DEVNULL)
    assert lines == []


def test_a_real_program_prints_and_exits_as_without_capture() -> None:
    code = """
import sys
from milepost.sdk.capture.console_output import ConsoleCapture
seen = []
ConsoleCapture(lambda stream, text: seen.append(text)).install()
print("to stdout"); print("no newline", end="")
print("to stderr", file=sys.stderr)
raise SystemExit(3 if seen == ["to stdout", "to stderr"] else 4)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (3, "to stdout\nno newline", "to stderr\n")


def test_install_twice_captures_once(streams: Streams) -> None:
    out, _ = streams()
    lines: list[str] = []
    capture = ConsoleCapture(lambda stream, text: lines.append(text))
    capture.install()
    capture.install()
    print("a")
    capture.uninstall()
    capture.install()
    print("b")
    capture.uninstall()

    assert lines == ["a", "b"]
    assert sys.stdout is out
