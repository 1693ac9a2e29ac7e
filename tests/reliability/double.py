"""An exporter that uses the network and nothing else: JSON over HTTP, The shipper's own test double.

It is installed for a test as a distribution of its own (see `installed`), since only what has a name can go into the shipper.
"""

import http.client
import json
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from milepost.sdk.event import Event
from milepost.sdk.exporter import ExportResult, RunInfo

RETRYABLE = (429, 502, 503, 504)
NAMES = ("http_lines", *(f"lines_{number}" for number in range(1, 7)))
"""A run names an exporter once; so that it can have several of these, they have several names."""


class HttpLines:
    """Posts each batch as a JSON list of {run, writer, seq, values}.

    url: where to. api_key: sent as a bearer token. timeout: milliseconds for one request. ca_file: whom to trust.
    """

    network = True
    wants = frozenset(("row",))
    self_metrics = False

    def __init__(self, url: str, api_key: str | None = None, timeout: int = 20_000, ca_file: str | None = None) -> None:
        self._address = urlsplit(url)
        self._key = api_key
        self._timeout_s = timeout / 1000
        self._ca_file = ca_file
        self._connection: http.client.HTTPConnection | None = None

    def start(self, run: RunInfo, position: Any) -> None:
        """Nothing is opened before the first batch."""

    def export(self, batch: Sequence[Event]) -> ExportResult:
        rows = [{"run": e.run, "writer": e.writer, "seq": e.seq, "values": e.values} for e in batch]
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        try:
            if self._connection is None:
                self._connection = self._connect()
            self._connection.request("POST", self._address.path or "/", json.dumps(rows), headers)
            response = self._connection.getresponse()
            body = response.read()
        except ssl.SSLError as error:  # no downgrade, and no hurry: somebody has to do something
            self.shutdown()
            return ExportResult.retry(f"{self._address.netloc}: {error}; see the option ca_file", 30.0)
        except (OSError, http.client.HTTPException) as error:
            self.shutdown()
            return ExportResult.retry(f"{self._address.netloc}: {type(error).__name__}: {error}")
        if response.status == 200:
            refused = json.loads(body or b"{}").get("rejected", 0)
            return ExportResult.rejected(refused, "refused in part") if refused else ExportResult.SUCCESS
        if response.status in RETRYABLE:
            after = response.headers.get("Retry-After")
            return ExportResult.retry(f"HTTP {response.status}", float(after) if after else None)
        if response.status in (401, 403):
            return ExportResult.retry(
                f"{self._address.netloc}: HTTP {response.status}: wrong key; see the option api_key", 30.0
            )
        return ExportResult.refused(f"HTTP {response.status}: {body.decode(errors='replace')[:100]}")

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._address.hostname or "", self._address.port
        if self._address.scheme == "https":
            context = ssl.create_default_context(cafile=self._ca_file)
            return http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=context)
        return http.client.HTTPConnection(host, port, timeout=self._timeout_s)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True

    def shutdown(self, timeout_millis: int = 30_000) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class SelfTelling(HttpLines):
    """The same, also for the figures of its own delivery."""

    self_metrics = True


class Picky(HttpLines):
    """Looks at its options when it is made, as it should."""

    def __init__(self, url: str) -> None:
        if not url.startswith("http"):
            raise ValueError("url must begin with http:// or https://")
        super().__init__(url)


class Parted(HttpLines):
    """The same with two signals."""

    @staticmethod
    def parts(options: dict[str, Any]) -> dict[str, dict[str, Any]]:
        return {part: {**options, "url": f"{options['url']}/{part}"} for part in ("metrics", "logs")}


def installed(directory: Path) -> Path:
    """Make a distribution in a folder that registers NAMES and the others; the folder is to be put on the path."""
    info = directory / "milepost_double-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: milepost-double\nVersion: 1.0\n")
    points = [f"{name} = milepost_double:HttpLines" for name in NAMES] + [
        "parted = milepost_double:Parted",
        "picky = milepost_double:Picky",
        "self_telling = milepost_double:SelfTelling",
    ]
    (info / "entry_points.txt").write_text("\n".join(["[milepost_exporter]", *points, ""]))
    (directory / "milepost_double.py").write_text(Path(__file__).read_text())
    return directory
