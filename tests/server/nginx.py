"""A real nginx before a real server, as on a machine that people reach."""

import shutil
import socket
import subprocess
import time
from pathlib import Path

import httpx

LOCATION = """
        proxy_pass {url};
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header Connection "";
        proxy_buffering off;
"""
MAIN = """
daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
{servers}
}}
"""


class Nginx:
    """An nginx process in a folder of its own. servers: `server {{ ... }}` blocks in which PORT stands for a free one."""

    def __init__(self, folder: Path, servers: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for _ in range(10):  # nginx cannot be given port 0, so somebody else may take the one that was free
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = int(free.getsockname()[1])
            config = folder / "nginx.conf"
            config.write_text(MAIN.format(servers=servers.replace("PORT", str(self.port))))
            command = [str(binary()), "-p", str(folder), "-c", str(config)]
            tried = subprocess.run([*command, "-t"], check=False, capture_output=True, text=True)
            assert tried.returncode == 0 or "Address already in use" in tried.stderr, tried.stderr
            self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            if self._listens():
                return
        raise AssertionError(f"nginx does not start: {(folder / 'error.log').read_text()}")

    def _listens(self) -> bool:
        until = time.monotonic() + 30
        while time.monotonic() < until and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 5).close()
            except OSError:
                time.sleep(0.02)
            else:
                return self.process.poll() is None
        return False

    def client(self, **more: object) -> httpx.Client:
        """A client of it."""
        told: dict[str, object] = {
            "base_url": f"http://127.0.0.1:{self.port}",
            "timeout": 60,
            "trust_env": False,
            **more,
        }
        return httpx.Client(**told)  # type: ignore[arg-type]

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(60)


def binary() -> Path:
    """Debian keeps it where users do not look."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    assert found, "these tests need nginx: apt-get install nginx-light"
    return Path(found)
