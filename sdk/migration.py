"""What `import milepost as wandb` needs beyond `log` and `init`: the other keywords of `wandb.init`, Settings, and wandb's names.

Everything here either works or says, once or as an error, what to use instead.
"""

import enum
import logging
import os
import sys
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from milepost.sdk.errors import Error, RunNotFoundError, UnknownAttributeError, UsageError
from milepost.sdk.names import run_id as new_id
from milepost.sdk.text import shown

logger = logging.getLogger("milepost")

_WITHOUT_EFFECT: Final = {
    "anonymous": "",
    "entity": "a run belongs to a project only; group= and tags= also tell runs apart",
    "force": "",
    "fork_from": "instead, start a run with the same config and group=; the old one stays as it is",
    "magic": "",
    "monitor_gym": "instead, log the videos of the environment yourself",
    "save_code": "the git commit and the size of the diff are recorded with every run; copy files with milepost.save()",
    "sync_tensorboard": "instead, log the values with milepost.log()",
    "tensorboard": "instead, log the values with milepost.log()",
}
_ARGUMENTS: Final = (
    "project", "name", "id", "config", "dir", "group", "job_type", "tags", "notes", "mode", "resume", "config_file", "exporters",
    "processors", "settings", "reinit", "resume_from", "config_include_keys", "config_exclude_keys",
)  # fmt: skip
_REINIT: Final = ("default", "return_previous", "finish_previous", "create_new")
_SETTINGS: Final = {  # wandb's names of what the config file has under another
    "root_dir": "dir",
    "run_group": "group",
    "run_id": "id",
    "run_job_type": "job_type",
    "run_name": "name",
    "run_notes": "notes",
    "run_tags": "tags",
}
_OWN_SETTINGS: Final = frozenset(
    """
    allow_media_symlink allow_offline_artifacts allow_val_change anonymous api_key app_url app_url_override
    azure_account_url_to_access_key base_url capture_loggers code_dir colab_url config_paths console
    console_chunk_max_bytes console_chunk_max_seconds console_multipart credentials_file deployment disable_code
    disable_git disable_git_fork_point disable_job_creation disable_service docker email entity files_dir finish_timeout
    finish_timeout_raises force fork_from git_commit git_remote git_remote_url git_root heartbeat_seconds host http_proxy
    https_proxy identity_token_file ignore_globs init_timeout insecure_disable_ssl is_local job_name job_source
    jupyter_name label_disable launch launch_config_path log_internal log_user login_timeout magic
    max_end_of_run_history_metrics max_end_of_run_summary_metrics notebook_name organization problem program
    program_abspath program_relpath quiet reinit relogin resume_from resumed run_url sagemaker_disable save_code
    settings_system settings_workspace show_colors show_emoji show_errors show_info show_warnings silent start_method
    stop_on_fatal_error strict summary_errors summary_timeout summary_warnings sweep_id sweep_param_path sweep_url symlink
    sync_dir sync_file sync_tensorboard system_sample_seconds system_samples table_raise_on_max_row_limit_exceeded
    timespec tmp_dir use_dot_wandb username wandb_dir
    """.split()  # noqa: SIM905 - words read better than a list of quotes
)
"""Settings of wandb that mean nothing here; so do all that begin with `_` or `x_`."""
_VARIABLES: Final = ("DIR", "MODE", "NAME", "NOTES", "PROJECT", "RESUME", "RUN_GROUP", "RUN_ID", "TAGS")
_ARGUMENT: Final = {"RUN_GROUP": "group", "RUN_ID": "id"}
_said: set[str] = set()


class Keywords:
    """The arguments of `wandb.init` that `milepost.init` does not name.

    Raises TypeError for one that neither knows, UsageError for a value without meaning. One without effect here says so once.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        rest = dict(given)
        self.reinit = rest.pop("reinit", None)
        if self.reinit is not None and not isinstance(self.reinit, bool) and self.reinit not in _REINIT:
            raise UsageError(
                f"init() reinit must be True, False or one of {', '.join(_REINIT)}; got {shown(self.reinit)}"
            )
        self._include = _names("config_include_keys", rest.pop("config_include_keys", None))
        self._exclude = _names("config_exclude_keys", rest.pop("config_exclude_keys", None))
        self._resume_from = rest.pop("resume_from", None)
        rest.pop("allow_val_change", None)  # always so: init() sets what it is given
        for name, value in rest.items():
            if name not in _WITHOUT_EFFECT:
                raise TypeError(f"init() got an unexpected keyword argument {name!r}{_near(name)}")
            if value not in (None, False):
                _say(name, f"init({name}=...) has no effect in milepost", _WITHOUT_EFFECT[name])

    def config(self, values: Any) -> Any:
        """The config without what was to be left out."""
        if values is None or not (self._include or self._exclude):
            return values
        from milepost.sdk.run_config import mapping

        return {
            key: value
            for key, value in mapping(values).items()
            if key not in self._exclude and (not self._include or key in self._include)
        }

    def completed(self, arguments: dict[str, Any], settings: Any) -> tuple[dict[str, Any], Mapping[str, Any] | None]:
        """The arguments of `init` in milepost's words, and what the config file could say."""
        said = settings.as_mapping() if isinstance(settings, Settings) else settings
        if isinstance(said, Mapping):
            said = _in_our_words(said)
        arguments = {**arguments, "mode": mode(arguments.get("mode")), "resume": resume(arguments.get("resume"))}
        warn_of_variables(os.environ, arguments)
        if self._resume_from is None:
            return arguments, said
        run_id, _, step = str(self._resume_from).partition("?_step=")
        if not run_id or not step.isdecimal() or arguments.get("id") not in (None, run_id):
            raise UsageError(
                f'init() resume_from must be "RUN_ID?_step=N" for the run of id= (or without id=), got {shown(self._resume_from)}'
            )
        return {**arguments, "id": run_id, "resume": "must"}, {**(said or {}), "resume_step": int(step)}


def mode(value: Any) -> Any:
    """wandb's modes in milepost's words."""
    return (
        {"dryrun": "offline", "shared": "online", "run": "online"}.get(value, value)
        if isinstance(value, str)
        else value
    )


def resume(value: Any) -> Any:
    """True is "auto", False is none."""
    return ("auto" if value else None) if isinstance(value, bool) else value


def warn_of_variables(environ: Mapping[str, str], arguments: Mapping[str, Any]) -> None:
    """Name, once, the WANDB_* variables that would have decided something, had milepost read them."""
    unread = [
        name
        for name in _VARIABLES
        if environ.get(f"WANDB_{name}")
        and not environ.get(f"MILEPOST_{name}")
        and arguments.get(_ARGUMENT.get(name, name.lower())) is None
    ]
    if unread:
        given = ", ".join(f"WANDB_{name}" for name in unread)
        _say("variables", f"milepost does not read {given}", f"set {', '.join(f'MILEPOST_{name}' for name in unread)}")


class Settings:
    """Settings as keyword arguments, for scripts that build `wandb.Settings(...)`.

    The same as a plain dict: keywords that milepost's config file knows take effect (`mode`, `resume`, ...), as do wandb's
    `run_id`, `run_name` and the like; others of wandb's do nothing, which is said once; any other name is an error of `init`.
    """

    def __init__(self, **keywords: Any) -> None:
        self._keywords = keywords

    def as_mapping(self) -> dict[str, Any]:
        """The keywords that were given a value."""
        return {key: value for key, value in self._keywords.items() if value is not None}


def _in_our_words(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as the config file would say them, without those of wandb that mean nothing here, which are named once."""
    from milepost.sdk.configuration.declarations import Layout

    known = set(Layout.__struct_fields__)
    found: dict[str, Any] = {}
    ignored: list[str] = []
    for key, value in given.items():
        name = _SETTINGS.get(key, key)
        if name not in known and (name in _OWN_SETTINGS or str(name).startswith(("_", "x_"))):
            ignored.append(name)
        else:
            found[name] = value
    if ignored:
        names = ", ".join(sorted(ignored))
        _say("settings", f"these settings are wandb's own and have no effect in milepost: {names}", "")
    for name, words in (("mode", mode), ("resume", resume)):
        if name in found:
            found[name] = words(found[name])
    return found


def set_config(run: Any, values: Any) -> None:
    """`wandb.config = {...}`, as wandb's own first example has it. Before `init()` it sets nothing, in wandb as here."""
    if run is None:
        _say("config", "milepost.config = ... before init() sets nothing", "give the values to init(config=...)")
    else:
        run.config.update(values, allow_val_change=True)


class Utilities:
    """`wandb.util`, of which scripts use one function: an id that is made before the run, and kept beside a checkpoint."""

    @staticmethod
    def generate_id(length: int = 8) -> str:
        """A new id for `init(id=...)`."""
        return "".join(new_id() for _ in range(0, length, 8))[:length]


class Errors:
    """`wandb.errors`: what scripts catch by these names."""

    Error = Error
    UsageError = UsageError
    CommError = RunNotFoundError
    """wandb's `Api` raises it for a run that is not there."""
    AuthenticationError = Error


class AlertLevel(enum.Enum):
    """How urgent an alert is."""

    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"


_REGISTRY: Final = (
    "read the files of an earlier run with milepost.Api().run(...).files() and .file(name).download(), or give the program "
    "their path: there is no artifact registry"
)


_INSTEAD: Final = {
    **dict.fromkeys(("use_artifact", "use_model"), _REGISTRY),
    **dict.fromkeys(
        ("sweep", "agent", "controller"), "start one run per set of hyperparameters, with config= and group="
    ),
    **dict.fromkeys(
        ("keras", "lightgbm", "xgboost", "catboost", "sklearn", "integration"), "call milepost.log() in a callback"
    ),
    **dict.fromkeys(("tensorboard", "gym", "fastai"), "log the values with milepost.log()"),
    "restore": "read a file of an earlier run with milepost.Api().run(...).file(name).download()",
}
_ARTIFACTS: Final = ("link_artifact", "upsert_artifact", "finish_artifact", "log_model", "link_model")
_NOTHING: Final = (
    "_label",
    "get_url",
    "get_project_url",
    "get_sweep_url",
    "log_code",
    "mark_preempting",
    "unwatch",
    "display",
)
_NOTHING_OF_MODULE: Final = ("require", "setup", "teardown", "unwatch", "ensure_configured")


def attribute_of_run(run: Any, name: str) -> Any:
    """What wandb's runs have under a name that milepost's have not. Raises AttributeError, with what to use instead."""
    if name in _NOTHING:
        return _nothing
    if name == "sweep_id":
        return None
    if name in _ARTIFACTS:
        return _artifact_call(run, name)
    if name == "join":
        return run.finish
    if name == "project_name":
        return lambda: run.project
    raise AttributeError(_missing("run", name), name=name, obj=run)  # Python adds the name that may have been meant


SETTABLE: Final = ("name", "tags", "notes", "config", "summary")
"""What of a run can be assigned to."""


def refuse_to_set(run: Any, name: str) -> NoReturn:
    """Raise the error of an assignment to a name that a run does not have, or that is read only."""
    import difflib  # only a mistake needs it

    public = [known for known in {*dir(type(run)), *run.__dict__} if not known.startswith("_")]
    if name in public:
        raise UnknownAttributeError(f"run.{name} cannot be changed; what can be is {', '.join(SETTABLE)}")
    near = difflib.get_close_matches(name, SETTABLE, n=1) or difflib.get_close_matches(name, public, n=1)
    meant = f"; did you mean run.{near[0]}?" if near else ""
    raise UnknownAttributeError(
        f"a run has no attribute {name!r}{meant or '.'} To keep a value of your own: run.config[{name!r}] = ..., or "
        f"run.summary[{name!r}] = ... for a result"
    )


def attribute_of_module(name: str) -> Any:
    """What wandb has under a name that milepost has not. Raises AttributeError, with what to use instead."""
    if name in _NOTHING_OF_MODULE:
        return _nothing
    if name in _ARTIFACTS:
        return _of_current_run(name)
    if name == "util":
        return Utilities
    if name == "errors":
        return Errors
    if name in ("termlog", "termwarn", "termerror"):
        return _to_the_terminal
    if name == "join":
        from milepost import finish

        return finish
    if name in ("plot_table", "visualize"):
        from milepost.media import plot

        return plot.plot_table if name == "plot_table" else _visualize
    if name == "data_types":
        return sys.modules["milepost"]  # wandb.data_types.Table is wandb.Table
    if name == "Node":
        from milepost.media.graph import Node

        return Node
    raise AttributeError(_missing("milepost", name), name=name, obj=sys.modules["milepost"])


def _of_current_run(name: str) -> Any:
    def call(*args: Any, **keywords: Any) -> Any:
        """The call of the run that is active by then."""
        from milepost.sdk.current import required

        return _artifact_call(required(f"{name}()"), name)(*args, **keywords)

    return call


def _artifact_call(run: Any, name: str) -> Any:
    """The calls of wandb around `log_artifact`."""
    if name == "link_artifact":
        from milepost.sdk.artifacts import link_artifact

        return link_artifact
    if name in ("log_model", "link_model"):

        def log_model(path: Any, name: str | None = None, aliases: Any = None, *args: Any, **keywords: Any) -> Any:
            """A model: an artifact of that type, of a file or a folder."""
            named = keywords.get("name") if link else name
            return run.log_artifact(path, name=named, type="model", aliases=None if link else aliases)

        link = name == "link_model"  # its second argument names a model of the registry
        return log_model
    return run.log_artifact


def _visualize(id: str, value: Any) -> Any:
    """A chart by wandb's name for its kind, of a table with the columns that this kind draws."""
    from milepost.media.plot import plot_table

    return plot_table(id, value, {})


def _nothing(*args: Any, **keywords: Any) -> None:
    """There is nothing to do."""


def _to_the_terminal(string: str = "", newline: bool = True, repeat: bool = True) -> None:
    """Say something on standard error."""
    print(f"milepost: {string}", file=sys.stderr, end="\n" if newline else "")


def _missing(owner: str, name: str) -> str:
    if name in _INSTEAD:
        return f"{owner}.{name} is not in milepost; instead, {_INSTEAD[name]}"
    return f"module 'milepost' has no attribute {name!r}" if owner == "milepost" else f"a run has no attribute {name!r}"


def _near(name: str) -> str:
    """The argument that may have been meant, as the end of a message."""
    import difflib  # only a mistake needs it

    known = [*_ARGUMENTS, *_WITHOUT_EFFECT]
    found = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def _names(argument: str, value: Any) -> frozenset[str]:
    if value is None:
        return frozenset()
    if isinstance(value, str) or not all(isinstance(name, str) for name in value):
        raise UsageError(f"init() {argument} must be a list of names, got {shown(value)}")
    return frozenset(value)


def _say(key: str, text: str, more: str) -> None:
    """Warn once."""
    if key not in _said:
        _said.add(key)
        logger.warning("milepost: %s%s", text, f"; {more}" if more else "")
