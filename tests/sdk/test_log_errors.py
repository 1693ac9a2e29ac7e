"""What cannot be logged: which error, what it says, and that nothing else changes."""

from collections.abc import Callable
from typing import Any

import pytest

import milepost
from tests.sdk.runs import label, recorded


class Plain:
    """An object without a form in a row."""


@pytest.mark.parametrize("data", [[1], 10, "text", None, 1.5, (("a", 1),), {"a"}, Plain()], ids=label)
def test_data_that_is_no_mapping_is_refused_by_its_type(data: Any) -> None:
    with recorded() as run:
        with pytest.raises(milepost.DataError, match=f"got .*{type(data).__name__}"):
            run.log(data)
        run.log({"a": 1})

        assert run.rows() == [{"_step": 0, "a": 1}]


@pytest.mark.parametrize("key", [1, 2.5, None, True, ("a", "b"), b"a"], ids=label)
def test_a_key_that_is_no_text_refuses_the_whole_call(key: Any) -> None:
    with recorded() as run:
        with pytest.raises(milepost.DataError, match="keys are text"):
            run.log({"good": 1, key: 2})

        assert run.rows() == []


def test_with_placeholders_the_value_of_such_a_key_is_stored_and_the_warning_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with recorded(settings={"on_invalid": "placeholder"}) as run:
        data: dict[Any, Any] = {1: 2, ("a", "b"): 3}
        run.log(data)

        assert run.values() == [{"1": 2, "('a', 'b')": 3}]
    assert "log() keys are text, got 1 of type int; its value is stored under that as text" in caplog.text
    assert "placeholder" not in caplog.text


@pytest.mark.parametrize("value", [Plain(), range(3), object(), b"\xff", [1, Plain()], {"deep": [Plain()]}], ids=label)
def test_a_value_without_a_form_refuses_the_whole_call_and_leaves_all_before_it_untouched(value: Any) -> None:
    with recorded() as run:
        run.log({"row": 1})
        run.log({"pending": 2}, commit=False)
        with pytest.raises(milepost.DataError):
            run.log({"good": 3, "bad": value}, step=7)
        with pytest.raises(milepost.DataError):
            run.log({"good": 3, "bad": value})
        assert run.run.step == 1
        assert run.summary() == {"row": 1}

        assert run.rows() == [{"_step": 0, "row": 1}, {"_step": 1, "pending": 2}]


def test_the_error_names_the_key_the_type_and_what_is_accepted() -> None:
    with recorded() as run:
        with pytest.raises(milepost.DataError) as caught:
            run.log({"train": {"optimizer": Plain()}})

        text = str(caught.value)
        assert '"train.optimizer"' in text
        assert "test_log_errors.Plain" in text
        assert "numbers, text" in text


def test_the_error_of_a_list_names_the_type_of_what_it_holds() -> None:
    with recorded() as run, pytest.raises(milepost.DataError, match=r'"boxes".*holds a value of type object') as raised:
        run.log({"boxes": [1, {"corner": (2, object())}]})

    assert "(type list)" in str(raised.value)


@pytest.mark.parametrize("base", [milepost.Error, ValueError, TypeError])
def test_the_error_is_what_scripts_catch(base: type[Exception]) -> None:
    with recorded() as run, pytest.raises(base):
        run.log({"bad": Plain()})


BEFORE: dict[str, Callable[[], object]] = {
    "log": lambda: milepost.log({"a": 1}),
    "define_metric": lambda: milepost.define_metric("a"),
    "save": lambda: milepost.save("*.py"),
    "watch": lambda: milepost.watch(object()),
    "alert": lambda: milepost.alert("title"),
    "config": lambda: setattr(milepost.config, "x", 1),
    "summary": lambda: milepost.summary.update({"x": 1}),
}


@pytest.mark.parametrize("call", BEFORE)
def test_before_init_every_call_raises_and_names_itself(call: str) -> None:
    with pytest.raises(milepost.Error, match=rf"You must call milepost\.init\(\) before milepost\.{call}"):
        BEFORE[call]()


@pytest.mark.parametrize(
    "use",
    [
        lambda: milepost.config.lr,
        lambda: milepost.config["lr"],
        lambda: milepost.config.update({"lr": 1}),
        lambda: "lr" in milepost.config,
        lambda: milepost.summary["x"],
        lambda: milepost.summary.get("x"),
        lambda: len(milepost.summary),
    ],
)
def test_before_init_config_and_summary_refuse_every_use(use: Callable[[], object]) -> None:
    with pytest.raises(milepost.Error, match=r"milepost\.init\(\)"):
        use()


def test_finish_before_init_and_twice_is_silent() -> None:
    milepost.finish()
    with recorded():
        milepost.finish()
        milepost.finish()


AFTER: dict[str, Callable[[milepost.Run], object]] = {
    "log": lambda run: run.log({"a": 1}),
    "define_metric": lambda run: run.define_metric("a"),
    "alert": lambda run: run.alert("title"),
    "save": lambda run: run.save("*.py"),
    "watch": lambda run: run.watch(object()),
    "config": lambda run: run.config.update({"x": 1}),
    "summary": lambda run: run.summary.update({"x": 1}),
    "name": lambda run: setattr(run, "name", "new"),
    "tags": lambda run: setattr(run, "tags", ["new"]),
    "notes": lambda run: setattr(run, "notes", "new"),
}


@pytest.mark.parametrize("call", AFTER)
def test_after_finish_every_call_raises_and_names_itself(call: str) -> None:
    with recorded() as run:
        run.log({"a": 1})
        run.run.finish()

        with pytest.raises(milepost.UsageError, match=rf"run\.{call} after finish\(\)"):
            AFTER[call](run.run)


def test_a_refused_change_after_finish_changes_nothing() -> None:
    with recorded(config={"lr": 1}, name="old") as run:
        run.run.finish()
        for change in AFTER.values():
            with pytest.raises(milepost.UsageError):
                change(run.run)

        assert run.run.config.as_dict() == {"lr": 1}
        assert (run.run.name, run.run.tags, run.run.notes) == ("old", (), None)
        assert run.summary() == {}


def test_a_timeout_that_is_no_number_is_refused_and_the_run_goes_on() -> None:
    with recorded() as run:
        wrong: Any = "30"
        with pytest.raises(milepost.DataError, match=r"timeout must be seconds.*'30'"):
            run.run.finish(timeout=wrong)
        run.log({"a": 1})

        assert run.rows() == [{"_step": 0, "a": 1}]
        assert milepost.run is None


def test_after_finish_nothing_is_left_to_flush() -> None:
    with recorded() as run:
        run.log({"a": 1})
        run.run.finish()

        assert run.run.flush()
        assert run.run.flush(durable=True)


def test_after_finish_the_module_says_that_no_run_is_active() -> None:
    with recorded():
        milepost.finish()

        with pytest.raises(milepost.Error, match=r"milepost\.init\(\)"):
            milepost.log({"a": 1})


def test_the_summary_and_the_config_can_be_read_after_finish() -> None:
    with recorded(config={"lr": 1}) as run:
        run.log({"a": 1})
        run.run.finish()

        assert run.run.summary["a"] == 1
        assert run.run.config.lr == 1
