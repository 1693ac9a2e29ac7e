"""Credentials: keys of milepost servers, kept for this user by `milepost login`.

They lie in ~/.config/milepost/credentials.json, which nobody else may read. MILEPOST_API_KEY and a key in the config file come
first.
"""

import os
from pathlib import Path

import msgspec

from milepost.sdk.errors import UsageError


def credentials_file() -> Path:
    """Where the keys are."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "milepost" / "credentials.json"


def stored_key(url: str) -> str | None:
    """The key for a server, or None. A file that cannot be read holds none."""
    try:
        known = msgspec.json.decode(credentials_file().read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError, RuntimeError):  # RuntimeError: no home directory
        return None
    return known.get(url.rstrip("/"))


def key_for(url: str) -> str | None:
    """The key to read from a server with, or None: MILEPOST_API_KEY, unless it is that of another server, MILEPOST_URL."""
    own = os.environ.get("MILEPOST_URL")
    if not own or own.rstrip("/") == url.rstrip("/"):
        return os.environ.get("MILEPOST_API_KEY") or stored_key(url)
    return stored_key(url)


def store_key(url: str, key: str | None) -> Path:
    """Keep the key of a server, or forget it (None); the file. Raises `UsageError` when it cannot be written."""
    path = credentials_file()
    try:
        known = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        known = {}
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}; mend or remove it") from None
    known.pop(url.rstrip("/"), None)
    if key is not None:
        known[url.rstrip("/")] = key
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(known)) + b"\n")
        os.replace(fresh, path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    return path
