"""What `import milepost as wandb` needs beyond `log` and `init`: the other keywords of `wandb.init`, Settings, Artifact, alerts.

Everything here either works or says, once or as an error, what to use instead.
"""

import enum
import logging
from collections.abc import Mapping
from typing import Any, Final

from milepost.sdk.errors import Error

logger = logging.getLogger("milepost")

_WITHOUT_EFFECT: Final = {
    "allow_val_change": None,
    "anonymous": None,
    "config_exclude_keys": "leave the names out of config=",
    "config_include_keys": "give only these names in config=",
    "entity": None,
    "force": None,
    "fork_from": "log a new run with init(config=...) and group= it with the old one",
    "magic": None,
    "monitor_gym": "log the videos of the environment yourself",
    "resume_from": 'init(id=..., resume="must", settings={"resume_step": N})',
    "save_code": "the git commit and the size of the diff are recorded with every run",
    "sync_tensorboard": "log the values with milepost.log()",
    "tensorboard": "log the values with milepost.log()",
}
_said: set[str] = set()


def keywords(given: dict[str, Any]) -> Any:
    """The value of `reinit`; the other arguments of `wandb.init` are taken, and one that has no effect here says so once.

    Raises TypeError for a keyword that neither milepost nor wandb knows.
    """
    given = dict(given)
    reinit = given.pop("reinit", None)
    for name, value in given.items():
        if name not in _WITHOUT_EFFECT:
            raise TypeError(f"init() got an unexpected keyword argument {name!r}")
        if value in (None, False) or name in _said:
            continue
        _said.add(name)
        instead = _WITHOUT_EFFECT[name]
        logger.warning(
            "milepost: init(%s=...) has no effect in milepost%s", name, f"; instead: {instead}" if instead else ""
        )
    return reinit


def mode(value: Any) -> Any:
    """wandb's modes in milepost's words."""
    return (
        {"dryrun": "offline", "shared": "online", "run": "online"}.get(value, value)
        if isinstance(value, str)
        else value
    )


def resume(value: Any) -> Any:
    """True is "auto", False is none."""
    return {True: "auto", False: None}.get(value, value) if isinstance(value, bool) else value


def settings(value: Any) -> Mapping[str, Any] | None:
    """A mapping from `settings=`."""
    return value.as_mapping() if isinstance(value, Settings) else value


class Settings:
    """Settings as keyword arguments, for scripts that build `wandb.Settings(...)`.

    Keywords that milepost's config file knows take effect (`mode`, `resume`, ...); the others are wandb's own and do nothing.
    """

    def __init__(self, **keywords: Any) -> None:
        self._keywords = keywords

    def as_mapping(self) -> dict[str, Any]:
        """What the config file would say."""
        from milepost.sdk.configuration.declarations import Layout

        known = set(Layout.__struct_fields__) - {"file_format"}
        ignored = sorted(set(self._keywords) - known)
        if ignored and "settings" not in _said:
            _said.add("settings")
            logger.warning(
                "milepost: these settings are wandb's own and have no effect in milepost: %s", ", ".join(ignored)
            )
        return {key: value for key, value in self._keywords.items() if key in known}


class AlertLevel(enum.Enum):
    """How urgent an alert is."""

    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"


class Artifact:
    """Not in milepost: raises with the name of what to use instead."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        raise Error(
            "milepost has no Artifact: copy files into the run with milepost.save(path), or keep them where they are and log "
            'their path and checksum, as in milepost.log({"model": {"path": ..., "sha256": ...}})'
        )
