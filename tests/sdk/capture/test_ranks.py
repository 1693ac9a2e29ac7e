"""Ranks: what each launcher's variables mean."""

from milepost.sdk.capture.ranks import RankInfo, detect

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "3",
    "TORCHELASTIC_RUN_ID": "job-17",
    "TORCHELASTIC_RESTART_COUNT": "0",
}


def test_a_plain_process_has_no_rank() -> None:
    assert detect({"PATH": "/bin", "USER": "me"}) == RankInfo(None, None, None, None, None, None)


def test_all_ranks_of_a_torchrun_job_share_a_run_id() -> None:
    ranks = [detect({**TORCHRUN, "RANK": str(rank)}) for rank in range(8)]

    assert {info.shared_run_id for info in ranks} == {"torchrun-job-17"}
    assert [info.rank for info in ranks] == list(range(8))
    assert {(info.launcher, info.world_size, info.attempt) for info in ranks} == {("torchrun", 8, 1)}


def test_torchrun_without_an_id_shares_no_run() -> None:
    assert detect({**TORCHRUN, "TORCHELASTIC_RUN_ID": "none"}).shared_run_id is None
    assert detect({**TORCHRUN, "TORCHELASTIC_RUN_ID": "none"}).launcher == "torchrun"


def test_a_restart_is_a_later_attempt_at_the_same_run() -> None:
    restarted = detect({**TORCHRUN, "TORCHELASTIC_RESTART_COUNT": "2"})

    assert (restarted.attempt, restarted.shared_run_id) == (3, "torchrun-job-17")


def test_a_run_id_is_safe_as_a_folder_name_and_stays_distinct() -> None:
    ids = [detect({**TORCHRUN, "TORCHELASTIC_RUN_ID": odd}).shared_run_id for odd in ("../../x", "..:..:x", "é" * 300)]

    assert len(set(ids)) == 3
    for run_id in ids:
        assert run_id is not None
        assert len(run_id) < 100
        assert all(character.isascii() and (character.isalnum() or character in "-_.") for character in run_id)


def test_slurm_ranks_are_runs_of_their_own_in_one_group() -> None:
    environ = {"SLURM_JOB_ID": "4242", "SLURM_PROCID": "1", "SLURM_NTASKS": "4"}

    assert detect(environ) == RankInfo(1, 4, "slurm", None, "slurm-4242", None)


def test_a_slurm_job_of_one_task_has_no_rank() -> None:
    assert detect({"SLURM_JOB_ID": "4242", "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}) == RankInfo()


def test_a_requeued_slurm_job_is_a_later_attempt() -> None:
    environ = {"SLURM_JOB_ID": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_RESTART_COUNT": "1"}

    assert detect(environ).attempt == 2


def test_mpirun_inside_slurm_counts_mpi_ranks_and_not_the_daemons() -> None:
    slurm = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "2"}

    info = detect({**slurm, "OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_SIZE": "8"})

    assert info == RankInfo(5, 8, "mpi", None, "slurm-7", None)


def test_srun_with_pmi_is_slurm() -> None:
    environ = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "1", "SLURM_NTASKS": "2", "PMI_RANK": "1", "PMI_SIZE": "2"}

    assert detect(environ).launcher == "slurm"


def test_mpi_outside_of_slurm_is_grouped_by_its_namespace() -> None:
    environ = {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2", "PMIX_NAMESPACE": "prterun-host-99@1"}

    info = detect(environ)

    assert info.group is not None
    assert info.group.startswith("mpi-prterun-host-99-1-")


def test_rank_and_world_size_without_a_launcher_count_but_a_lone_rank_does_not() -> None:
    assert detect({"RANK": "1", "WORLD_SIZE": "2"}) == RankInfo(1, 2, "env", None, None, None)
    assert detect({"RANK": "1"}) == RankInfo()


def test_numbers_that_do_not_parse_count_as_not_set() -> None:
    for odd in ("", "-1", "one", "1.5", "1" * 5000, "²"):
        assert detect({"RANK": odd, "WORLD_SIZE": "2"}) == RankInfo()
