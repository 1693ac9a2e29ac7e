"""What ran: commit, command, host, Python, packages, hardware and job, gathered once per run on a background thread.

Nothing here raises, waits for a network, asks a question on the terminal or takes a lock in the user's repository. Each
part has its own time limit; one that failed or was too slow is named under "errors" and the others stand.
"""

import os
import platform
import re
import shlex
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from milepost.sdk.capture.git import describe as describe_git
from milepost.sdk.capture.gpus import Gpus
from milepost.sdk.capture.redact import redact_argv, redact_text, secrets_in

_PART_TIMEOUT_S = 5.0
_GIT_TIMEOUT_S = 8.0  # several git commands of at most 5 s each
_MAX_PACKAGES = 2000
_MAX_COMMAND_CHARS = 8192

# Named one by one: a prefix such as SLURM_ would bring along the user's name and whatever else a site sets.
_JOB_VARIABLES = (
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT",
    "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_MAX_RESTARTS",
    "SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_JOB_PARTITION", "SLURM_JOB_NODELIST", "SLURM_JOB_NUM_NODES",
    "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_CLUSTER_NAME", "SLURM_STEP_ID", "SLURM_PROCID", "SLURM_LOCALID",
    "SLURM_NODEID", "SLURM_NTASKS", "SLURM_RESTART_COUNT",
    "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "PMI_RANK", "PMI_SIZE",
    "PMIX_NAMESPACE", "PBS_JOBID", "PBS_ARRAY_INDEX", "LSB_JOBID", "LSB_JOBINDEX", "JOB_ID", "SGE_TASK_ID",
    "RAY_JOB_ID", "CUDA_VISIBLE_DEVICES",
)  # fmt: skip
_DISTRIBUTION = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._]*)-(?P<version>[^-]+)(?:-[^-]+)*\.(?:dist-info|egg-info)")


def gather(
    argv: Sequence[str] | None = None, *, environment: bool = True, git: bool = True, packages: bool = True
) -> dict[str, Any]:
    """What ran, as a JSON-able mapping; `docs/captured.md` explains every key.

    argv: program and arguments, as in `sys.argv`; by default the command line as the interpreter got it.
    environment: False leaves out everything but git.
    git, packages: False leaves that part out.
    A part that does not apply is left out, one that failed is named in "errors": {part: reason}.
    """
    secrets = secrets_in(os.environ)
    program = _program(argv)
    parts: list[tuple[str, float, Callable[[], Any]]] = [
        ("command", _PART_TIMEOUT_S, lambda: _command(argv, secrets)),
        ("program", _PART_TIMEOUT_S, lambda: redact_text(_short(program), secrets)),
        ("host", _PART_TIMEOUT_S, socket.gethostname),
        ("os", _PART_TIMEOUT_S, _operating_system),
        ("python", _PART_TIMEOUT_S, _python),
        ("cpu", _PART_TIMEOUT_S, _cpu),
        ("memory", _PART_TIMEOUT_S, _memory),
        ("gpus", _PART_TIMEOUT_S, _gpus),
        ("job", _PART_TIMEOUT_S, lambda: _job(os.environ, secrets)),
    ]
    if not environment:
        parts = []
    if git:
        parts.append(("git", _GIT_TIMEOUT_S, lambda: describe_git(_source_directory(program))))
    if environment and packages:
        parts.append(("packages", _PART_TIMEOUT_S, lambda: installed_packages(sys.path)))
    gathered: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for name, timeout_s, part in parts:
        value, error = _within(timeout_s, part)
        if isinstance(value, dict) and "error" in value:
            error = error or str(value.pop("error"))
        if value not in (None, {}, [], ""):
            gathered[name] = value
        if error:
            errors[name] = redact_text(error, secrets)
    if errors:
        gathered["errors"] = errors
    return gathered


def installed_packages(paths: Sequence[str]) -> dict[str, str]:
    """Name and version of every distribution on `paths`, sorted; of two with one name the first on the path counts.

    Read from the names of the `*.dist-info` folders, which the packaging standard fixes: 1 ms for 100 packages,
    where importlib.metadata parses every METADATA file in 130 ms and more. At most 2000.
    """
    found: dict[str, str] = {}
    for path in dict.fromkeys(paths):
        try:
            names = os.listdir(path or os.curdir)
        except OSError:
            continue  # zip files, and entries of sys.path that do not exist
        for name in names:
            match = _DISTRIBUTION.fullmatch(name) if name.endswith("-info") else None
            if match is not None:
                found.setdefault(match["name"].lower().replace("_", "-"), match["version"])
    return dict(sorted(found.items())[:_MAX_PACKAGES])


def _within(timeout_s: float, part: Callable[[], Any]) -> tuple[Any, str]:
    """What `part` returns, or why it did not. A part that hangs (a dead network disk) stays on its own thread."""
    outcome: list[tuple[Any, str]] = []

    def run() -> None:
        try:
            outcome.append((part(), ""))
        except Exception as error:  # noqa: BLE001 - whatever a broken system raises: the other parts still stand
            outcome.append((None, f"{type(error).__name__}: {error}"[:300]))

    try:
        thread = threading.Thread(target=run, name="milepost-environment", daemon=True)
        thread.start()
    except RuntimeError as error:  # no more threads, or the interpreter is shutting down
        return None, str(error)
    thread.join(timeout_s)
    return outcome[0] if outcome else (None, f"took longer than {timeout_s:g} s")


def _program(argv: Sequence[str] | None) -> str:
    if argv is not None:
        return argv[0] if argv else ""
    main = sys.modules.get("__main__")
    return str(getattr(main, "__file__", None) or (sys.argv[0] if sys.argv else ""))


def _command(argv: Sequence[str] | None, secrets: Sequence[str]) -> str:
    arguments = redact_argv(list(sys.orig_argv if argv is None else argv), secrets)
    return shlex.join(_short(argument) for argument in arguments)[:_MAX_COMMAND_CHARS]


def _short(path: str) -> str:
    """The text with the home folder as `~`: its name is the user's, which is not recorded."""
    home = os.path.expanduser("~")
    return path.replace(home + os.sep, "~" + os.sep) if len(home) > 1 and os.path.isabs(home) else path


def _source_directory(program: str) -> str:
    """Where to look for the repository: the program's folder, or the working directory for an installed program.

    A console script (pytest, accelerate) lies in the interpreter's folders; a repository around those is not what ran.
    """
    folder = os.path.dirname(os.path.abspath(program)) if program and os.path.exists(program) else ""
    installed = any((folder + os.sep).startswith(prefix + os.sep) for prefix in (sys.prefix, sys.base_prefix))
    return os.getcwd() if not folder or installed else folder


def _operating_system() -> dict[str, Any]:
    system = {"name": platform.system(), "release": platform.release(), "machine": platform.machine()}
    if system["name"] == "Linux":
        try:
            system["distribution"] = platform.freedesktop_os_release().get("PRETTY_NAME", "")
        except OSError:
            return system  # no os-release file, as in a minimal container
    return system


def _python() -> dict[str, Any]:
    return {
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "executable": _short(sys.executable or ""),
    }


def _cpu() -> dict[str, Any]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return {"logical_count": os.cpu_count(), "usable_count": usable or os.cpu_count()}


def _memory() -> dict[str, Any]:
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = {"total_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")}
    else:
        import psutil

        memory = {"total_bytes": int(psutil.virtual_memory().total)}
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            limit = file.read().strip()
    except OSError:
        return memory  # not Linux, or no cgroup of version 2
    return {**memory, "limit_bytes": int(limit)} if limit.isdigit() else memory


def _gpus() -> list[dict[str, Any]]:
    gpus = Gpus.open(os.environ)
    if gpus is None:
        return []
    try:
        return gpus.describe()
    finally:
        gpus.close()


def _job(environ: Mapping[str, str], secrets: Sequence[str]) -> dict[str, str]:
    return {name: redact_text(environ[name][:1000], secrets) for name in _JOB_VARIABLES if environ.get(name)}
