"""What the options of `server` come to, without the exporter, which programs leave to the shipper."""

from collections.abc import Mapping
from typing import Any, Final

from milepost.sdk.credentials import stored_key
from milepost.sdk.cursor import FILES

SIGNALS: Final = ("rows", "files")


def parts(options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """One exporter for rows, which has the name alone, and one for files."""
    signals = options.get("signals")
    wanted = SIGNALS if signals is None else signals
    return {"" if signal == "rows" else signal: {**options, "signals": [signal]} for signal in wanted}


def wanted(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The kinds of events that it takes when it takes no rows."""
    return tuple(sorted(FILES)) if options.get("signals") == ["files"] else ()


def with_environment(options: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """The options with what they leave open filled from MILEPOST_URL, MILEPOST_API_KEY and `milepost login`."""
    filled = dict(options)
    for option, variable in (("url", "MILEPOST_URL"), ("api_key", "MILEPOST_API_KEY")):
        if not filled.get(option) and environ.get(variable):
            filled[option] = environ[variable]
    if filled.get("url") and not filled.get("api_key") and (key := stored_key(str(filled["url"]))):
        filled["api_key"] = key
    return filled
