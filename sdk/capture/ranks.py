"""Which place in a distributed job this process has, read from the variables its launcher set.

Under torchrun the ranks of one job share a run id and so join one run by themselves; a SLURM or MPI rank is a run of
its own, grouped by the job. Called inside `init()`: nothing but dictionary look-ups.
"""

import re
import zlib
from collections.abc import Mapping
from typing import Literal, NamedTuple

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")
_MAX_ID_CHARS = 64


class RankInfo(NamedTuple):
    """A process' place in its job; all None for a process that no launcher started.

    rank:          0 <= rank < world_size.
    world_size:    number of ranks, when the launcher says it.
    launcher:      "env" is RANK and WORLD_SIZE without a launcher that names itself.
    shared_run_id: the run id that all ranks of this job share, safe as a folder name; None: each rank is its own run.
    group:         the group of the runs of one job; None when the launcher names no job.
    attempt:       1 for the first start, 2 after one restart by torchrun or one requeue by SLURM; None when not told.
    """

    rank: int | None = None
    world_size: int | None = None
    launcher: Literal["torchrun", "slurm", "mpi", "env"] | None = None
    shared_run_id: str | None = None
    group: str | None = None
    attempt: int | None = None


def detect(environ: Mapping[str, str]) -> RankInfo:
    """The rank told by `environ`.

    RANK first (torchrun and all that imitate it), then MPI, then SLURM: mpirun inside a SLURM job leaves its ranks the
    SLURM_PROCID of the daemon that started them, which is not theirs. Numbers that do not parse count as not set.
    """
    slurm_job = environ.get("SLURM_JOB_ID")
    group = f"slurm-{_safe(slurm_job)}" if slurm_job else None
    requeued = _number(environ, "SLURM_RESTART_COUNT")
    attempt = None if requeued is None else requeued + 1

    rank, size = _number(environ, "RANK"), _number(environ, "WORLD_SIZE")
    elastic_id = environ.get("TORCHELASTIC_RUN_ID")
    if rank is not None and elastic_id is not None:
        shared = f"torchrun-{_safe(elastic_id)}" if elastic_id not in ("", "none") else None
        restarts = _number(environ, "TORCHELASTIC_RESTART_COUNT")
        return RankInfo(rank, size, "torchrun", shared, group, attempt if restarts is None else restarts + 1)
    if rank is not None and size is not None:  # a lone RANK may mean anything
        return RankInfo(rank, size, "env", None, group, attempt)

    slurm_rank = _number(environ, "SLURM_PROCID")
    slurm_size = _number(environ, "SLURM_NTASKS")
    in_slurm = bool(slurm_job) and slurm_rank is not None and (slurm_size or 0) > 1
    for rank_name, size_name in (("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), ("PMI_RANK", "PMI_SIZE")):
        rank = _number(environ, rank_name)
        if rank is not None and not (in_slurm and rank == slurm_rank):
            job = environ.get("PMIX_NAMESPACE") or environ.get("OMPI_MCA_ess_base_jobid")
            group = group or (f"mpi-{_safe(job)}" if job else None)
            return RankInfo(rank, _number(environ, size_name), "mpi", None, group, attempt)
    if in_slurm:
        return RankInfo(slurm_rank, slurm_size, "slurm", None, group, attempt)
    return RankInfo()


def _number(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None


def _safe(text: str) -> str:
    """The text as part of a folder name; a checksum keeps two ids apart that would become one."""
    safe = _UNSAFE.sub("-", text)[:_MAX_ID_CHARS]
    return safe if safe == text else f"{safe}-{zlib.crc32(text.encode('utf-8', 'replace')):08x}"
