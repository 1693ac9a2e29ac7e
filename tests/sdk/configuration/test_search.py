"""Which config file is in force, and which are refused."""

import os
from pathlib import Path

import pytest

from milepost.sdk.configuration import load, search
from milepost.sdk.errors import ConfigurationError

TEXT = 'file_format: "1.0"\n'


def write(path: Path, project: str = "found") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{TEXT}project: {project}\n")
    path.chmod(0o644)
    return path


@pytest.fixture(autouse=True)
def no_system_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "etc" / "milepost.yaml"
    monkeypatch.setattr(search, "SYSTEM_FILE", path)
    return path


def file_in_force(cwd: Path, **environ: str) -> Path | None:
    return load(environ=environ, cwd=cwd).file


def test_the_argument_wins_over_the_variable_and_both_over_the_search(tmp_path: Path) -> None:
    found = write(tmp_path / "milepost.yaml")
    named, by_variable = write(tmp_path / "a.yaml", "named"), write(tmp_path / "b.yaml", "variable")

    assert file_in_force(tmp_path) == found
    assert file_in_force(tmp_path, MILEPOST_CONFIG_FILE=str(by_variable)) == by_variable
    assert load(config_file="a.yaml", environ={"MILEPOST_CONFIG_FILE": str(by_variable)}, cwd=tmp_path).file == named
    assert file_in_force(tmp_path, MILEPOST_CONFIG_FILE="") == found
    assert file_in_force(tmp_path, MILEPOST_CONFIG_FILE=os.devnull) is None


def test_the_search_goes_up_to_the_root_of_the_repository(tmp_path: Path) -> None:
    outside = write(tmp_path / "milepost.yaml")
    repository = tmp_path / "repository"
    deep = repository / "src" / "train"
    deep.mkdir(parents=True)
    (repository / ".git").mkdir()

    assert file_in_force(deep) is None
    at_root = write(repository / "milepost.yaml")
    assert file_in_force(deep) == at_root
    nearer = write(repository / "src" / "milepost.yaml")
    assert file_in_force(deep) == nearer
    assert file_in_force(tmp_path) == outside


def test_the_search_goes_up_to_home_and_no_further(tmp_path: Path) -> None:
    write(tmp_path / "milepost.yaml")
    deep = tmp_path / "home" / "project"
    deep.mkdir(parents=True)

    assert file_in_force(deep, HOME=str(tmp_path / "home")) is None
    in_home = write(tmp_path / "home" / "milepost.yaml")
    assert file_in_force(deep, HOME=str(tmp_path / "home")) == in_home


def test_without_repository_or_home_above_only_own_directories_are_searched(tmp_path: Path) -> None:
    deep = tmp_path / "shared" / "mine" / "project"
    deep.mkdir(parents=True)
    write(tmp_path / "shared" / "milepost.yaml")
    (tmp_path / "shared").chmod(0o1777)

    assert file_in_force(deep) is None
    mine = write(tmp_path / "shared" / "mine" / "milepost.yaml")
    assert file_in_force(deep) == mine


def test_the_users_file_comes_before_the_systems(tmp_path: Path, no_system_file: Path) -> None:
    cwd = tmp_path / "elsewhere"
    cwd.mkdir()
    (cwd / ".git").mkdir()
    home = tmp_path / "user"
    write(no_system_file)

    assert file_in_force(cwd, HOME=str(home)) == no_system_file
    own = write(home / ".config" / "milepost" / "milepost.yaml")
    assert file_in_force(cwd, HOME=str(home)) == own


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_found_file_that_others_can_write_is_refused_with_the_fix(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "milepost.yaml")
    path.chmod(mode)

    with pytest.raises(ConfigurationError) as caught:
        load(environ={}, cwd=tmp_path)

    assert str(caught.value).startswith(f"{path}: found, but users other than its owner can write it; to trust it: ")
    assert f"chmod go-w '{path}'" in str(caught.value)
    assert load(environ={}, config_file=path).project == "found"


def test_a_found_file_of_another_user_is_refused_with_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "milepost.yaml")
    owner = os.geteuid() or 12_345
    if os.geteuid() == 0:
        os.chown(path, owner, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)

    with pytest.raises(ConfigurationError, match=f"belongs to user {owner}, and this is user .*chown"):
        load(environ={}, cwd=tmp_path)

    assert load(environ={}, config_file=path).project == "found"


def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    for arguments in ({"config_file": "no.yaml"}, {"environ": {"MILEPOST_CONFIG_FILE": "no.yaml"}}):
        with pytest.raises(ConfigurationError, match=r"no\.yaml does not exist"):
            load(**{"environ": {}, "cwd": tmp_path, **arguments})  # type: ignore[arg-type]


def test_a_home_in_a_named_path_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = write(tmp_path / "own.yaml")

    assert load(config_file="~/own.yaml").file == path


def test_a_removed_working_directory_only_asks_for_an_absolute_runs_directory(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()

    with pytest.raises(ConfigurationError, match="working directory was removed; give an absolute path"):
        load(environ={})
    assert load(environ={"MILEPOST_DIR": str(tmp_path)}).dir == tmp_path
