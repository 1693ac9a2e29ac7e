"""What an exporter logs as a warning in the shipper is said by the program whose rows it delivers."""

import logging
import subprocess
import sys
import threading
from pathlib import Path

from milepost.sdk.shipper.hearing import Hearing
from tests.exporters.otlp.answering import http_backend

PROGRAM = """
import sys
import milepost

exporters = [{"otlp": {"endpoint": sys.argv[1], "detectors": ["nope"]}}]
with milepost.init(project="digits", settings={"exporters": exporters, "capture": False, "shipper": {"linger": 100}}) as run:
    run.log({"a/b": 1.0, "a.b": 2.0})
"""


def test_a_warning_of_an_exporter_reaches_the_terminal_once(tmp_path: Path) -> None:
    with http_backend() as backend:
        outcome = subprocess.run(
            [sys.executable, "-c", PROGRAM, backend.address], cwd=tmp_path, capture_output=True, text=True, check=True
        )

    assert outcome.stderr.count("milepost: 'a/b' and 'a.b' are both 'a_b' in Prometheus") == 1
    assert outcome.stderr.count("milepost: resource detector 'nope' found nothing") == 1


def test_only_warnings_of_its_own_thread_are_heard_and_not_what_is_logged_meanwhile() -> None:
    logger = logging.getLogger("milepost")
    heard: list[str] = []

    def tell(text: str) -> None:
        heard.append(text)
        logger.warning("milepost: told: %s", text)

    hearing = Hearing(tell)
    with hearing.listening():
        other = threading.Thread(target=logger.warning, args=("milepost: elsewhere",))
        other.start()
        other.join()
        logger.error("milepost: an error")
        with hearing.deaf():
            logger.warning("milepost: told already")
        logger.warning("milepost: %d rows", 3)

    assert heard == ["3 rows"]


def test_two_threads_that_tell_at_once_do_not_wait_for_each_other() -> None:
    """What is told is logged, too, and so comes by what hears the other thread."""
    logger = logging.getLogger("milepost")
    both = threading.Barrier(2)
    heard: list[str] = []

    def deliver(name: str) -> None:
        def tell(text: str) -> None:
            both.wait(30.0)
            logger.warning("milepost: told: %s", text)
            heard.append(text)

        with Hearing(tell).listening():
            both.wait(30.0)
            logger.warning("milepost: %s", name)

    threads = [threading.Thread(target=deliver, args=(name,), daemon=True) for name in ("one", "other")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20.0)

    assert sorted(heard) == ["one", "other"]
