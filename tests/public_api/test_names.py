"""The public names: exactly those, sorted, each with the signature that scripts rely on."""

import importlib.metadata
import inspect
import subprocess
import sys
import types

import pytest

import milepost


def test_all_is_sorted_and_is_exactly_what_is_visible() -> None:
    visible = {
        name
        for name in dir(milepost)
        if not name.startswith("_") and not isinstance(getattr(milepost, name), types.ModuleType)
    }

    assert list(milepost.__all__) == sorted(milepost.__all__)
    assert visible - set(milepost.__all__) == set()


@pytest.mark.parametrize("name", milepost.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(milepost, name)

    assert name in dir(milepost)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert inspect.getdoc(value), f"milepost.{name} has no docstring"


def test_a_star_import_gives_all_of_them_in_a_fresh_interpreter() -> None:
    script = "from milepost import *\nimport milepost\nprint(sorted(set(milepost.__all__) - set(globals())))"

    outcome = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)

    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.strip() == "[]"


def test_a_name_that_is_not_there_is_an_attribute_error_that_names_it() -> None:
    name = "no_such_name"

    with pytest.raises(AttributeError, match=name):
        getattr(milepost, name)


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (
            "init",
            "project name id config dir group job_type tags notes mode resume config_file exporters processors settings",
        ),
        ("log", "data step commit sync"),
        ("define_metric", "name step_metric step_sync hidden summary goal overwrite"),
        ("finish", "exit_code timeout"),
        ("current_run", ""),
    ],
)
def test_the_signatures_are_those_that_scripts_use(function: str, parameters: str) -> None:
    signature = inspect.signature(getattr(milepost, function))

    named = [name for name, parameter in signature.parameters.items() if parameter.kind is not parameter.VAR_KEYWORD]

    assert named[: len(parameters.split())] == parameters.split()


def test_init_takes_the_keywords_of_wandb_too() -> None:
    kinds = [parameter.kind for parameter in inspect.signature(milepost.init).parameters.values()]

    assert kinds[-1] is inspect.Parameter.VAR_KEYWORD


def test_the_package_has_its_version() -> None:
    assert milepost.__version__ == importlib.metadata.version("milepost")


@pytest.mark.parametrize("base", [milepost.Error, ValueError, TypeError])
def test_a_data_error_is_caught_as_what_people_expect(base: type[Exception]) -> None:
    assert issubclass(milepost.DataError, base)


def test_log_before_init_names_the_call_to_make() -> None:
    with pytest.raises(milepost.Error, match=r"milepost\.init\(\)"):
        milepost.log({"loss": 0.5})


def test_the_run_is_none_before_init_and_after_finish() -> None:
    before: object = milepost.run
    run = milepost.init(project="names", settings={"exporters": []})
    during: object = milepost.run
    milepost.finish()
    after: object = milepost.run

    assert (before, during, after) == (None, run, None)


def test_log_imported_before_init_logs_to_the_current_run() -> None:
    from milepost import log

    run = milepost.init(project="names")
    log({"loss": 0.5})
    milepost.finish()

    assert [row["loss"] for row in milepost.Api().run(f"names/{run.id}").scan_history()] == [0.5]
