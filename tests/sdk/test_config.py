"""run.config: set once, read as attributes or items."""

import argparse
import collections
import dataclasses
import math
import operator
import pathlib
from typing import Any

import numpy as np
import pytest

import milepost
from milepost.sdk.run_config import RunConfig
from tests.sdk.runs import label, recorded


def test_values_are_read_as_attributes_and_as_items() -> None:
    with recorded(config={"lr": 0.1, "model": {"layers": 4}}) as run:
        config = run.run.config
        assert config.lr == config["lr"] == config.get("lr") == 0.1
        assert config.model == {"layers": 4}
        assert config["model"]["layers"] == 4
        assert "lr" in config
        assert list(config) == list(config.keys()) == ["lr", "model"]
        assert dict(config.items()) == dict(config) == config.as_dict() == {"lr": 0.1, "model": {"layers": 4}}


def test_a_missing_name_raises_and_get_gives_the_default() -> None:
    with recorded() as run:
        with pytest.raises(KeyError, match="lr"):
            run.run.config["lr"]
        with pytest.raises(AttributeError, match="lr"):
            _ = run.run.config.lr
        assert run.run.config.get("lr") is None
        assert run.run.config.get("lr", 5) == 5


def test_values_become_plain_python() -> None:
    with recorded(
        config={"t": (1, 2), "np": np.float32(0.5), "array": np.arange(3), "path": pathlib.Path("a/b")}
    ) as run:
        run.run.config.n = np.int64(5)

        config = run.run.config.as_dict()
        assert config == {"t": [1, 2], "np": 0.5, "array": [0, 1, 2], "path": "a/b", "n": 5}
        assert [type(value) for value in config.values()] == [list, float, list, str, int]


def test_later_changes_of_what_was_given_do_not_reach_the_config() -> None:
    given = {"model": {"layers": [1, 2]}}
    with recorded(config=given) as run:
        given["model"]["layers"].append(3)

        assert run.run.config.model == {"layers": [1, 2]}


def test_a_set_value_changes_only_when_that_is_allowed() -> None:
    with recorded(config={"lr": 0.1}) as run:
        config: Any = run.run.config
        for change in (
            lambda: config.update({"lr": 0.2}),
            lambda: setattr(config, "lr", 0.2),
            lambda: operator.setitem(config, "lr", 0.2),
        ):
            with pytest.raises(milepost.ConfigurationError, match=r"'lr' is 0\.1.*allow_val_change=True"):
                change()
        assert config.lr == 0.1
        config.update({"lr": 0.2}, allow_val_change=True)
        assert config.lr == 0.2


@pytest.mark.parametrize("value", [0.1, math.nan, [1, math.nan], {"a": 1}, None], ids=label)
def test_the_same_value_may_be_set_again(value: Any) -> None:
    with recorded(config={"x": value}) as run:
        run.run.config.update({"x": value})
        run.run.config.x = value


def test_a_refused_update_changes_nothing_at_all() -> None:
    with recorded(config={"lr": 0.1}) as run:
        with pytest.raises(milepost.ConfigurationError):
            run.run.config.update({"new": 1, "lr": 0.2})

        assert run.run.config.as_dict() == {"lr": 0.1}


def test_setdefaults_only_fills_gaps() -> None:
    with recorded(config={"lr": 0.1}) as run:
        assert run.run.config.setdefaults({"lr": 5, "epochs": 3}) == {"lr": 0.1, "epochs": 3}
        assert run.run.config.as_dict() == {"lr": 0.1, "epochs": 3}


def test_update_takes_a_namespace_a_dict_and_the_path_of_a_yaml_file() -> None:
    pathlib.Path("plain.yaml").write_text("epochs: 3\nmodel: {layers: 4}\n")
    pathlib.Path("wandb.yaml").write_text("wandb_version: 1\ndropout: {desc: share, value: 0.5}\n")
    with recorded() as run:
        run.run.config.update(argparse.Namespace(lr=0.1, name="x"))
        run.run.config.update({"batch": 32})
        run.run.config.update("plain.yaml")
        run.run.config.update(pathlib.Path("wandb.yaml"))

        assert run.run.config.as_dict() == {
            "lr": 0.1, "name": "x", "batch": 32, "epochs": 3, "model": {"layers": 4}, "dropout": 0.5,
        }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"), [("[1, 2]", "names and values"), ("a: [", "not YAML"), (None, "cannot be read")]
)
def test_a_bad_config_file_is_an_error_that_names_it(text: str | None, said: str) -> None:
    if text is not None:
        pathlib.Path("bad.yaml").write_text(text)
    with recorded() as run, pytest.raises(milepost.ConfigurationError, match=rf"bad\.yaml.*{said}"):
        run.run.config.update("bad.yaml")


def test_a_value_without_a_form_is_refused_and_later_changes_still_work() -> None:
    with recorded(config={"lr": 0.1}) as run:
        with pytest.raises(milepost.DataError, match=r'"model".*config is unchanged'):
            run.run.config.update({"good": 1, "model": object()})
        run.run.config.epochs = 3
        run.run.name = "new name"
        run.run.tags = ("a",)
        run.run.finish()

        read = milepost.Api().run(run.run.path)
        assert read.config == run.run.config.as_dict() == {"lr": 0.1, "epochs": 3}
        assert (read.name, read.tags) == ("new name", ["a"])


def test_another_run_s_config_is_taken_as_its_values() -> None:
    with recorded(config={"lr": 0.1, "model": {"layers": 2}}) as first:
        earlier = first.run.config
        first.run.finish()
    with recorded(config=earlier) as run:
        run.run.config.update(earlier)

        assert run.run.config == {"lr": 0.1, "model": {"layers": 2}}


def test_the_flags_of_absl_are_taken_as_their_values() -> None:
    class FlagValues:
        def __init__(self) -> None:
            self.__dict__["__flags"] = {"lr": object()}

        def flag_values_dict(self) -> dict[str, Any]:
            return {"lr": 0.1}

    with recorded(config=FlagValues()) as run:
        assert run.run.config == {"lr": 0.1}


def test_assigning_the_module_s_config_sets_the_config_of_the_run(caplog: pytest.LogCaptureFixture) -> None:
    module: Any = milepost
    module.config = {"lr": 0.5}
    assert "before init() sets nothing" in caplog.text
    with recorded(config={"lr": 0.1}) as first:
        module.config = {"lr": 0.2, "epochs": 3}
        module.config = argparse.Namespace(batch=32)
        assert module.config.epochs == 3
        assert first.run.config == {"lr": 0.2, "epochs": 3, "batch": 32}
        first.run.finish()
    with recorded(config={"lr": 0.3}):
        assert module.config == {"lr": 0.3}


class Device:
    def __str__(self) -> str:
        return "cuda:0"


@dataclasses.dataclass
class Optimizer:
    name: str
    device: Device


def test_objects_of_other_classes_are_told_as_text_and_dataclasses_as_dicts() -> None:
    class Scheduler:
        pass

    args = argparse.Namespace(
        lr=0.1,
        device=Device(),
        devices=[Device(), "cpu"],
        optimizer=Optimizer("adam", Device()),
        scheduler=Scheduler(),
        model=collections.UserDict(layers=4, on=Device()),
    )
    with recorded(config=vars(args)) as run:
        run.run.config.update(args)  # the same again

        assert run.run.config.as_dict() == {
            "lr": 0.1, "device": "cuda:0", "devices": ["cuda:0", "cpu"], "optimizer": {"name": "adam", "device": "cuda:0"},
            "scheduler": f"<{__name__}.{Scheduler.__qualname__} object>", "model": {"layers": 4, "on": "cuda:0"},
        }  # fmt: skip


def test_a_config_that_holds_itself_is_refused() -> None:
    config: dict[str, Any] = {}
    config |= {"self": config, "device": Device()}
    with pytest.raises(milepost.DataError, match="holds itself"):
        milepost.init(project="tests", config=config)


@pytest.mark.parametrize("config", [5, [1], ("lr", 0.1), {1: 2}, {"a"}], ids=label)
def test_init_refuses_a_config_of_another_kind(config: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="config"):
        milepost.init(project="tests", config=config)

    assert milepost.run is None


def test_it_has_no_length_and_nothing_can_be_deleted() -> None:
    with recorded(config={"lr": 0.1}) as run:
        config: Any = run.run.config
        with pytest.raises(TypeError):
            len(config)
        with pytest.raises((TypeError, AttributeError)):
            del config["lr"]
        with pytest.raises(AttributeError):
            del config.lr
        assert config.lr == 0.1


def test_it_is_read_back_as_it_was_also_while_the_run_goes_on() -> None:
    with recorded(config={"lr": 0.1, "nested": {"a": {"b": None}}, "list": [1, {"x": 2.5}]}) as run:
        run.run.config.late = True

        expected = {"lr": 0.1, "nested": {"a": {"b": None}}, "list": [1, {"x": 2.5}], "late": True}
        assert milepost.Api().run(run.run.path).config == expected
        run.run.finish()
        assert milepost.Api().run(run.run.path).config == expected


def test_the_module_gives_the_config_of_the_current_run() -> None:
    with recorded() as run:
        milepost.config.lr = 0.1
        milepost.config.update({"epochs": 3})

        assert run.run.config == {"lr": 0.1, "epochs": 3}
        assert run.run.config == RunConfig({"lr": 0.1, "epochs": 3})


def test_keys_with_milepost_s_own_names_are_ordinary_here() -> None:
    with recorded(config={"_step": 1, "_runtime": 2, "keys": 3}) as run:
        assert run.run.config.as_dict() == {"_step": 1, "_runtime": 2, "keys": 3}
        assert run.run.config["keys"] == 3


def test_what_is_changed_inside_of_a_value_is_stored(caplog: pytest.LogCaptureFixture) -> None:
    with recorded(config={"n": {"a": 1}, "list": [1], "bad": {}}) as recording:
        run = recording.run
        run.config["n"]["a"] = 5
        run.config.other = 1  # with the next change
        run.flush()
        assert milepost.Api().run(run.path).config["n"] == {"a": 5}
        run.config["list"].append(2)
        run.config["bad"]["it"] = run.config["bad"]
        run.finish()  # and at the end

    assert milepost.Api().run(run.path).config == {"n": {"a": 5}, "list": [1, 2], "bad": {}, "other": 1}
    assert [record for record in caplog.records if "'bad' was changed to what cannot be stored" in record.getMessage()]
