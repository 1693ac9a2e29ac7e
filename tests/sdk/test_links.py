"""Links that somebody put in the place of a run's files: nothing is written through them."""

from pathlib import Path

import pytest

import milepost

SECRET = "the key of somebody's machine\n"


def run_twice(tmp_path: Path, name: str) -> tuple[Path, Path]:
    """A run, one of whose files is then a link when it is resumed: its directory, and what the link leads to."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    with milepost.init(project="p", id="r", dir=tmp_path / "runs", config={"lr": 0.1}) as run:
        run.log({"loss": 0.5})
    directory = Path(run.dir)
    (directory / name).unlink(missing_ok=True)
    (directory / name).symlink_to(secret)
    with milepost.init(project="p", id="r", dir=tmp_path / "runs", resume="must", config={"lr": 0.2}) as run:
        run.log({"loss": 0.25})
        run.define_metric("loss", summary="min")
    return directory, secret


@pytest.mark.parametrize("name", ["history.jsonl", ".history.jsonl.ledger", "summary.json", "config.yaml", "run.json"])
def test_no_file_of_a_run_is_written_through_a_link(tmp_path: Path, name: str) -> None:
    directory, secret = run_twice(tmp_path, name)

    assert secret.read_text() == SECRET
    rows = milepost.Api(tmp_path / "runs").run("p/r").scan_history()
    assert [row["loss"] for row in rows] == [0.5, 0.25]
    if name in ("summary.json", "config.yaml", "run.json"):
        assert not (directory / name).is_symlink()
