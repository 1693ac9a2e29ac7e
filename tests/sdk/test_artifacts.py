"""Artifacts: what a script logs at the end of training is copied into the run, and nothing raises there."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import milepost
from milepost.sdk import artifacts
from tests.sdk.runs import QUIET, recorded


def files_of(run: milepost.Run) -> dict[str, str]:
    """The copies, by their path below files/artifacts/."""
    root = Path(run.dir, "files", "artifacts")
    return {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()}


def events_of(run: milepost.Run) -> list[dict[str, Any]]:
    """What the run's journal says of artifacts."""
    return [event.values for event in milepost.Api(Path(run.dir).parents[1]).run(run.path).reader().events("artifact")]


def test_an_artifact_is_copied_into_the_run_and_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(artifacts, "_said", set())
    (tmp_path / "model.pt").write_text("weights")
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "deep" / "a.txt").write_text("a")
    wandb: Any = milepost
    with milepost.init(project="p", dir=tmp_path / "runs", settings=QUIET) as run:
        artifact = wandb.Artifact("model", type="model", metadata={"acc": 0.9}, description="the best")
        artifact.add_file(str(tmp_path / "model.pt"))
        artifact.add_file(tmp_path / "model.pt", name="copies/second.pt")
        artifact.add_dir(tmp_path / "data", name="data")
        artifact.add_reference("s3://bucket/train.csv")
        artifact.add(wandb.Table(columns=["x"], data=[[1]]), "predictions")
        with artifact.new_file("notes.txt", mode="w") as file:
            file.write("noted")
        assert run.log_artifact(artifact, aliases=["best"]) is artifact
        assert artifact.wait() is artifact
        assert Path(artifact.path or "") == Path(run.dir, "files/artifacts/model/v0")
        wandb.log_artifact(artifact)

    one = {"model.pt": "weights", "copies/second.pt": "weights", "data/deep/a.txt": "a", "notes.txt": "noted"}
    assert files_of(run) == {f"model/{version}/{name}": text for version in ("v0", "v1") for name, text in one.items()}
    first, second = events_of(run)
    assert (first["name"], first["type"], first["version"], second["version"]) == ("model", "model", "v0", "v1")
    assert (first["metadata"], first["aliases"], first["description"]) == ({"acc": 0.9}, ["best"], "the best")
    assert (first["files"], first["path"]) == (4, "files/artifacts/model/v0")
    assert first["references"] == {"train.csv": "s3://bucket/train.csv"}
    assert first["objects"]["predictions"]["_type"] == "table-file"
    back = milepost.Api(tmp_path / "runs").run(run.path).file("files/artifacts/model/v0/model.pt")
    assert back.size == 7
    said = [record.message for record in caplog.records if "no artifact registry" in record.message]
    assert len(said) == 1
    assert "files/artifacts" in said[0]


def test_a_file_or_folder_is_logged_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_text("weights")
    wandb: Any = milepost
    with milepost.init(project="p", id="r", dir=tmp_path / "runs", settings=QUIET) as run:
        assert run.log_artifact(tmp_path / "model.pt", type="model").name == "run-r-model.pt"
        assert wandb.log_model(tmp_path / "model.pt", name="best").type == "model"
        wandb.run.link_model(tmp_path / "model.pt", "registered")
        wandb.run.link_artifact(None, "somewhere/else")

    assert files_of(run) == {
        "run-r-model.pt/v0/model.pt": "weights",
        "best/v0/model.pt": "weights",
        "run-r-model.pt/v1/model.pt": "weights",
    }


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "a/../../b", "", ".."])
def test_no_file_of_an_artifact_leaves_the_run(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    artifact = milepost.Artifact("a", type="data")

    with pytest.raises(milepost.DataError, match="name"):
        artifact.add_file(tmp_path / "file", name=name)
    with pytest.raises(milepost.DataError, match="name"), artifact.new_file(name):
        pass
    with pytest.raises(ValueError, match="name"):
        milepost.Artifact(name, type="data")


def test_a_link_in_the_place_of_the_folder_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "outside").mkdir()
    with recorded(dir=tmp_path / "runs") as recording:
        files = Path(recording.run.dir, "files")
        (files / "artifacts").mkdir(parents=True)
        (files / "artifacts" / "a").symlink_to(tmp_path / "outside")
        recording.run.log_artifact(tmp_path / "file", name="a")

    assert list((tmp_path / "outside").iterdir()) == []


def test_a_file_that_is_gone_by_then_is_named_and_the_others_are_copied(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    artifact = milepost.Artifact("a", type="data")
    artifact.add_file(tmp_path / "one")
    artifact.add_file(tmp_path / "two")
    (tmp_path / "one").unlink()

    with recorded() as recording:
        recording.run.log_artifact(artifact)
        assert files_of(recording.run) == {"a/v0/two": "two"}
    assert any("could not copy" in record.message and "one" in record.message for record in caplog.records)


def test_a_disabled_run_takes_artifacts_and_keeps_nothing() -> None:
    with milepost.init(mode="disabled") as run:
        artifact = milepost.Artifact("a", type="data", incremental=True)
        assert run.log_artifact(artifact) is artifact


def test_fetching_by_name_says_what_to_use_instead() -> None:
    artifact: Any = milepost.Artifact("a", type="data")

    with pytest.raises(milepost.Error, match=r"Api\(\)\.run"):
        artifact.download()
    with pytest.raises(milepost.Error, match=r"init\(\) before milepost\.log_artifact"):
        milepost.log_artifact(artifact)


def test_arrays_in_its_metadata_are_told_as_plain_values() -> None:
    with recorded() as recording:
        artifact = milepost.Artifact("a", metadata={"scores": np.array([1, 2]), "device": object()})
        recording.run.log_artifact(artifact)
        recording.run.flush()
        (event,) = events_of(recording.run)
    assert event["metadata"]["scores"] == [1, 2]
