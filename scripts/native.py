"""Compile `sdk/_native.c`, the fast path in C, where that is possible: the build hook of hatchling, and a command.

    wheel               the module goes in, and the wheel is one for this kind of machine and Python 3.11 and later
    editable install    the module is put beside its source, where the folder is imported from
    python scripts/native.py    the same as for an editable install; exits with 1 when it was not built

Without a compiler, without Python's headers, or elsewhere than on Linux the wheel is pure Python and a line says so: all works
as well, only slower. MILEPOST_NATIVE=0 at installation asks for that.
"""

import contextlib
import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any, Final

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # as a command; hatchling is not needed for that
    BuildHookInterface = object  # type: ignore[assignment,misc]

SOURCE: Final = "sdk/_native.c"
MODULE: Final = "_native.abi3.so"
FLAGS: Final = ("-std=c11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra")


class NativeHook(BuildHookInterface):  # type: ignore[type-arg]
    """What hatchling calls before it puts a wheel together."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the module for a wheel of this version ("standard" or "editable")."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        if version == "editable":
            compile_module(root, root / "sdk" / MODULE)
            return
        self._folder = tempfile.TemporaryDirectory(prefix="milepost-native-")
        made = Path(self._folder.name) / MODULE
        if compile_module(root, made):
            build_data["pure_python"] = False
            build_data["tag"] = f"cp311-abi3-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
            build_data["force_include"][str(made)] = f"milepost/sdk/{MODULE}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The wheel is there."""
        if hasattr(self, "_folder"):
            self._folder.cleanup()


def compile_module(root: Path, target: Path) -> bool:
    """Compile the source below `root` into `target`; whether that was done. If not, a line on standard error says why."""
    why = _compile(root / SOURCE, target)
    if why:
        with contextlib.suppress(OSError):
            target.unlink(missing_ok=True)  # one that was built from an older source
        print(f"milepost: log() is pure Python here, which is slower and otherwise the same: {why}", file=sys.stderr)
    return not why


def _compile(source: Path, target: Path) -> str:
    """Compile; "" or the reason why not."""
    if os.environ.get("MILEPOST_NATIVE", "").lower() in ("0", "false"):
        return "MILEPOST_NATIVE=0 asks for it"
    if not sys.platform.startswith("linux"):
        return "the C code is for Linux"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "this Python has no lock that the C code could rely on"
    include = Path(sysconfig.get_paths()["include"])
    if not (include / "Python.h").is_file():
        return f"Python's headers are not in {include} (Debian: apt-get install python3-dev)"
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")  # programs that run may have the old file mapped
    refused = "there is no C compiler (Debian: apt-get install gcc libc6-dev)"
    for compiler in dict.fromkeys((os.environ.get("CC", ""), sysconfig.get_config_var("CC") or "", "cc", "gcc")):
        if not compiler:
            continue
        try:
            command = [*shlex.split(compiler), *FLAGS, f"-I{include}", str(source), "-o", str(unfinished)]
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
            if done.returncode == 0:
                unfinished.replace(target)
                return ""
        except FileNotFoundError:  # no such program, or one that made no file
            continue
        except (OSError, ValueError) as error:
            refused = f"{compiler}: {error}"
            continue
        refused = f"{compiler}: {(done.stderr.strip() or 'it failed').splitlines()[0]}"
    with contextlib.suppress(OSError):
        unfinished.unlink(missing_ok=True)
    return refused


if __name__ == "__main__":
    here = Path(__file__).resolve().parents[1]
    sys.exit(not compile_module(here, here / "sdk" / MODULE))
