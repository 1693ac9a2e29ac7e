"""`import milepost` is light, and takes nothing that the program did not ask for."""

import json
import subprocess
import sys


def modules_after(statement: str) -> set[str]:
    """Top-level modules from outside the standard library that a fresh interpreter holds after the statement."""
    script = (
        "import json, sys; before = set(sys.modules)\n"
        f"{statement}\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in set(sys.modules) - before})))"
    )
    outcome = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name for name in json.loads(outcome.stdout) if name not in sys.stdlib_module_names}


def test_import_takes_no_third_party_module_but_msgspec() -> None:
    assert modules_after("import milepost") <= {"milepost", "msgspec"}


def test_import_starts_no_thread_and_writes_nothing() -> None:
    script = (
        "import pathlib, threading, milepost\n"
        "print(threading.active_count(), sorted(map(str, pathlib.Path.cwd().iterdir())))"
    )

    outcome = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert outcome.stdout.strip() == "1 []"
    assert outcome.stderr == ""
