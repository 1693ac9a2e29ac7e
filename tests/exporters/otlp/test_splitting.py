"""An exporter of two signals that serves both: what happens to one is no matter of the other."""

from pathlib import Path

import httpx
import pytest

from milepost.exporters.otlp.exporter import OtlpExporter
from milepost.sdk.testing import make_rows, make_run
from tests.exporters.otlp.answering import http_backend


def test_both_signals_are_shut_down_also_when_the_first_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[httpx.Client] = []
    really = httpx.Client.close

    def close(client: httpx.Client) -> None:
        really(client)
        closed.append(client)
        raise OSError("no more descriptors")

    with http_backend() as backend:
        exporter = OtlpExporter(endpoint=backend.address)
        exporter.start(make_run(tmp_path), None)
        assert exporter.export(make_rows(3)).outcome == "success"
        monkeypatch.setattr(httpx.Client, "close", close)

        with pytest.raises(OSError, match="no more descriptors"):
            exporter.shutdown()

    assert len(closed) == 2
