"""examples/gallery.py: every type is logged, and a picture of each is drawn from what was read back."""

import subprocess
import sys
from pathlib import Path

import PIL.Image


def test_the_gallery_logs_and_draws_every_type(repository: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, repository / "examples" / "gallery.py", "--pictures", tmp_path],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    kinds = {line.split()[1] for line in done.stdout.splitlines() if len(line.split()) > 1}
    assert kinds >= {
        "image-file", "images/separated", "histogram", "video-file", "audio-file", "object3D-file", "molecule-file", "html-file",
        "table-file", "incremental-table-file", "chart-file", "plotly-file", "graph-file",
    }  # fmt: skip
    pictures = {path.name for path in tmp_path.glob("*.png")}
    committed = repository / "docs" / "images" / "media"
    assert pictures == {path.name for path in committed.glob("*.png")}
    for path in committed.glob("*.png"):
        with PIL.Image.open(path) as one, PIL.Image.open(tmp_path / path.name) as other:
            assert one.width <= 320
            assert abs(one.width - other.width) <= 16
