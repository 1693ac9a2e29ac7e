"""What this machine lets milepost promise: shared memory for rings, room on the disk, the config file in force, whether the
fast path is compiled, shippers."""

import os
import shutil
from pathlib import Path
from typing import Any, Final, NamedTuple

from milepost.sdk import native
from milepost.sdk.cli.out import size
from milepost.sdk.configuration import load
from milepost.sdk.errors import ConfigurationError
from milepost.sdk.recovery import gone_rings
from milepost.sdk.ring import Ring, RingUnavailable, make_directory, shared_memory
from milepost.sdk.shipper.listening import meetings
from milepost.sdk.shipper.release import status

_DISK_LOW: Final = 0.01


class Finding(NamedTuple):
    """Something to be told. problem: whether it must be mended; else it is good to know."""

    problem: bool
    text: str


class Machine(NamedTuple):
    """facts: name to text, for people and machines alike."""

    facts: dict[str, Any]
    findings: list[Finding]


def examine(runs_dir: Path) -> Machine:
    """Look at the machine as a run in this directory would find it."""
    findings: list[Finding] = []
    facts = {
        "shared_memory": _shared_memory(findings),
        "disk": _disk(runs_dir, findings),
        "config_file": _config_file(findings),
        "exporters": _exporters(),
        "fast_path": native.told(),
        "shipper": _shipper(runs_dir),
    }
    return Machine({name: fact for name, fact in facts.items() if fact}, findings)


def _shared_memory(findings: list[Finding]) -> str:
    try:
        directory = make_directory()
        found = os.statvfs(directory)
    except (RingUnavailable, OSError) as error:
        findings.append(
            Finding(False, f"no shared memory ({error}): a row is one write to the journal, and log() costs more")
        )
        return "none"
    total, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    rings = list(shared_memory().glob("*.ring"))
    taken = sum(path.stat().st_size for path in rings if path.exists())
    if free < Ring.MIN_FREE:
        findings.append(
            Finding(
                False,
                f"{directory.parent} has {size(free)} free and rings need {size(Ring.MIN_FREE)}: a row is one write to the "
                "journal, and log() costs more; in a container, give it more with --shm-size",
            )
        )
    told = f"{directory.parent}: {size(free)} free of {size(total)}; {len(rings)} rings of milepost take {size(taken)}"
    gone = [path for _, some in gone_rings() for path in some]
    if gone:
        told += f", {len(gone)} of them of runs that are gone: init() removes these a day after their last sign of life"
    return told


def _disk(runs_dir: Path, findings: list[Finding]) -> str:
    place = next(path for path in (runs_dir.absolute(), *runs_dir.absolute().parents) if path.exists())
    try:
        usage = shutil.disk_usage(place)
    except OSError as error:
        findings.append(Finding(True, f"{place}: {error.strerror}"))
        return str(place)
    if not os.access(place, os.W_OK):
        findings.append(Finding(False, f"{place} cannot be written: runs would be kept elsewhere"))
    told = f"{place}: {size(usage.free)} free of {size(usage.total)}"
    if usage.free < usage.total * _DISK_LOW:
        findings.append(Finding(True, f"{told}; logging stops before a disk is full"))
    return told


def _config_file(findings: list[Finding]) -> str:
    try:
        settings = load()
    except ConfigurationError as error:
        findings.append(Finding(True, f"the settings in force are wrong: {'; '.join(error.errors)}"))
        return "wrong"
    findings.extend(Finding(False, text) for text in settings.warnings)
    return "none, the defaults are in force" if settings.file is None else str(settings.file)


def _exporters() -> str:
    try:
        return ", ".join(component.name for component in load().exporters) or "none"
    except ConfigurationError:
        return ""


def _shipper(runs_dir: Path) -> str:
    """The shippers that serve runs at or below a directory."""
    found: list[str] = []
    for path in meetings():
        told = status(path)
        runs = told.get("runs") if told is not None else None
        mine = [run for run in runs if Path(run).is_relative_to(runs_dir.absolute())] if isinstance(runs, dict) else []
        if told is not None and mine:
            found.append(
                f"process {told['pid']} serves {len(mine)} {'run' if len(mine) == 1 else 'runs'}, log {told['log']}"
            )
    return "; ".join(found)
