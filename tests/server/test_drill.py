"""The drill of docs/server-operations.md, as it stands: a backup is restored, and is what was saved."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

from tests.server.conftest import ADMIN_KEY, Start
from tests.server.sending import event, row, send
from tests.server.test_operation import send_file


def drill(page: Path) -> str:
    found = re.search(r"<!-- the drill: .*? -->\n```bash\n(.*?)```", page.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_the_backup_drill_of_the_documentation(repository: Path, start: Start, tmp_path: Path) -> None:
    environment = {**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY}
    server = start("--data", "milepost-data", environment=environment)
    with server.client(ADMIN_KEY) as client:
        rows = [row(n, {"loss": 1 / n}) for n in range(1, 5000)]
        send(client, [event(0, "run.start", {"name": "first"}), *rows], run="first", project="digits")
        content = b"weights"
        send_file(client, "first", content, project="digits")
    script = drill(repository / "docs/server-operations.md")
    program = tmp_path / "bin" / "milepost"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m milepost "$@"\n')
    program.chmod(0o755)
    environment["PATH"] = f"{program.parent}:{environment['PATH']}"
    script = script.replace("http://127.0.0.1:8550", server.url).replace("8551", str(free_port()))

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )

    assert done.returncode == 0, done.stderr + done.stdout
    lines = done.stdout.splitlines()
    assert "1" in lines
    assert '"name":"media/x.bin"' in lines[-1]
    assert not Path("milepost-drill").exists()
