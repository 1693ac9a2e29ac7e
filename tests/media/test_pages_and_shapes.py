"""Html, Object3D and Molecule: as they read back, and what is refused."""

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

import milepost
from tests.media.logged import logged

MESH: Any = trimesh.creation.icosphere(subdivisions=1)
XYZ = "3\nwater\nO 0 0 0.1\nH 0 0.7 -0.4\nH 0 -0.7 -0.4\n"


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("<head><title>t</title></head>", "<head>", "<title>"),
        ("<html><p>x</p></html>", "<html><head>", "</head><p>"),
        ("<p>x</p>", "", "<p>x</p>"),
        (
            '<!-- \u0130 --><html lang="tr"><HEAD id="h"><title>t</title>',
            '<!-- \u0130 --><html lang="tr"><HEAD id="h">',
            "<title>",
        ),
        ('<!doctype html><html lang="en"><header>x', '<!doctype html><html lang="en"><head>', "</head><header>"),
    ],
)
def test_a_page_gets_its_head(text: str, before: str, after: str) -> None:
    page = logged(milepost.Html(text)).load()

    assert page.startswith(before + "<base")
    assert after in page
    assert logged(milepost.Html(text, inject=False)).load() == text


def test_a_page_comes_from_a_text_a_path_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("<p>é</p>")

    with path.open() as opened:
        pages = [
            milepost.Html(str(path)),
            milepost.Html(path),
            milepost.Html(opened),
            milepost.Html(io.StringIO("<p>é</p>")),
        ]
    assert {page.html for page in pages} == {milepost.Html("<p>é</p>").html}
    assert milepost.Html("missing.html", inject=False).html == "missing.html"
    with pytest.raises(ValueError, match="int"):
        milepost.Html(3)
    (tmp_path / "page.txt").write_text("x")
    with pytest.raises(ValueError, match=r"must end in \.html"):
        milepost.Html(tmp_path / "page.txt")


@pytest.mark.parametrize("columns", [3, 4, 6])
def test_points_read_back_exactly(columns: int) -> None:
    points = np.random.default_rng(0).normal(size=(50, columns))
    points[:, 3:] = np.random.default_rng(1).integers(1, 15, (50, columns - 3))

    value = logged(milepost.Object3D(points, caption="p"))

    assert (value.to_numpy() == points).all()
    assert value["_type"] == "object3D-file"
    assert value["path"].endswith(".pts.json")


@pytest.mark.parametrize(
    ("points", "text"),
    [
        (np.zeros((4, 5)), r"\(4, 5\)"),
        (np.zeros(3), r"\(3,\)"),
        (np.zeros((0, 3)), r"\(0, 3\)"),
        (np.full((2, 3), np.nan), "NaN"),
        (np.full((2, 4), 15), "category"),
        (np.full((2, 6), 256), "0..255"),
    ],
)
def test_points_of_another_shape_are_refused(points: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        milepost.Object3D(points)


def test_a_scene_has_boxes_and_vectors_from_arrays_or_lists() -> None:
    corners = np.random.default_rng(0).normal(size=(8, 3))
    box = {"corners": corners, "label": "car", "color": [255, 0, 0], "score": 0.5}
    scene: dict[str, Any] = {
        "type": "lidar/beta",
        "points": [[0, 0, 0], [1, 2.5, 3]],
        "boxes": [box],
        "vectors": [{"start": (0, 0, 0), "end": [1, 1, 1]}],
    }

    loaded = logged(milepost.Object3D(scene)).load()

    assert loaded["points"].tolist() == [[0, 0, 0], [1, 2.5, 3]]
    assert loaded["boxes"] == [{"corners": corners.tolist(), "label": "car", "color": [255, 0, 0], "score": 0.5}]
    assert loaded["vectors"] == [{"start": [0, 0, 0], "end": [1, 1, 1]}]
    again = milepost.Object3D.from_point_cloud(scene["points"], scene["boxes"], scene["vectors"])
    assert logged(again)["sha256"] == logged(milepost.Object3D(scene))["sha256"]
    with pytest.raises(ValueError, match="lidar/beta"):
        milepost.Object3D({"type": "other", "points": [[0, 0, 0]]})
    with pytest.raises(ValueError, match="corners"):
        milepost.Object3D({"type": "lidar/beta", "points": [[0, 0, 0]], "boxes": [{"corners": [[0, 0, 0]]}]})


@pytest.mark.parametrize("form", ["obj", "gltf", "glb", "stl", "ply"])
def test_a_mesh_file_is_kept_byte_for_byte_and_refused_when_cut(tmp_path: Path, form: str) -> None:
    exported: Any = MESH.export(file_type=form)
    content = exported["model.gltf"] if isinstance(exported, dict) else exported
    content = content.encode() if isinstance(content, str) else content
    path = tmp_path / f"mesh.{form}"
    path.write_bytes(content)

    with path.open("rb") as opened:
        given = [milepost.Object3D(path), milepost.Object3D(opened), milepost.Object3D(content, file_type=form)]
    for one in given:
        with logged(one).open() as file:
            assert file.read() == content
    with pytest.raises(milepost.UsageError, match=rf"a \.{form} file has no to_numpy"):
        logged(given[0]).to_numpy()
    path.write_bytes(b"\0" * 90)
    with pytest.raises(milepost.DataError, match=f"mesh.{form} is not a whole .{form} file"):
        milepost.Object3D(path)
    if form != "obj":
        path.write_bytes(content[: len(content) // 3])
        with pytest.raises(milepost.DataError, match=f"mesh.{form}"):
            milepost.Object3D(path)


def test_a_3d_file_without_a_known_name_is_refused() -> None:
    with pytest.raises(ValueError, match="ends in no known extension"):
        milepost.Object3D(io.StringIO("v 0 0 0"))
    with pytest.raises(ValueError, match="file_type is 'exe'"):
        milepost.Object3D(io.StringIO("v 0 0 0"), file_type="exe")
    with pytest.raises(ValueError, match="announces"):
        milepost.Object3D(bytes(80) + struct.pack("<I", 2**31), file_type="stl")


def test_objects_in_a_list_name_their_files_without_folders() -> None:
    value = logged([milepost.Object3D(np.zeros((2, 3))), milepost.Object3D(np.ones((2, 3)))])

    assert (value["_type"], value["count"]) == ("object3D", 2)
    assert value["filenames"] == [item["path"].rpartition("/")[2] for item in value["objects"]]


def test_molecules_are_checked_to_be_of_their_format(tmp_path: Path) -> None:
    path = tmp_path / "water.xyz"
    path.write_text(XYZ)

    value = logged(milepost.Molecule(path, caption="water"))

    assert (value.load(), value["_type"], value["path"][-4:]) == (XYZ, "molecule-file", ".xyz")
    assert logged(milepost.Molecule(io.StringIO(XYZ), file_type="xyz"))["sha256"] == value["sha256"]
    with pytest.raises(ValueError, match="pdb file has"):
        milepost.Molecule(io.StringIO(XYZ), file_type="pdb")
    with pytest.raises(ValueError, match="'exe'"):
        milepost.Molecule(io.StringIO(XYZ), file_type="exe")
    with pytest.raises(ValueError, match="from_smiles"):
        milepost.Molecule(3)


def test_a_point_cloud_file_is_json(tmp_path: Path) -> None:
    path = tmp_path / "cloud.pts.json"
    path.write_text(json.dumps([[0, 0, 0]]))

    assert logged(milepost.Object3D(path)).to_numpy().tolist() == [[0, 0, 0]]
