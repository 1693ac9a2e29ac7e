"""`milepost doctor` accounts for every row and finds what is wrong."""

import json
from pathlib import Path
from typing import Any

import milepost
from tests.sdk.cli.conftest import QUIET, Command, kill_a_run, log_run, script


def exporter(command: Command, name: str = "file") -> dict[str, Any]:
    """What doctor says of one exporter of the only run."""
    (run,) = json.loads(command("doctor", "runs", "--json").out)["runs"]
    (found,) = [each for each in run["exporters"] if each["exporter"] == name]
    assert isinstance(found, dict)
    return found


def cursor_file(run_dir: Path, name: str = "file") -> Path:
    (path,) = run_dir.glob(f"journal/*/cursor-{name}.json")
    return path


def change_cursor(run_dir: Path, **values: Any) -> None:
    path = cursor_file(run_dir)
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_every_row_of_a_finished_run_is_accounted_for(command: Command) -> None:
    log_run([{"x": i} for i in range(10)])

    code, out, _ = command("doctor", "runs")

    assert code == 0
    assert "10 rows logged by 1 writer" in out
    assert "promise: SIGKILL loses nothing for which log() returned" in out
    assert out.endswith("no problems found\n")
    figures = exporter(command)
    assert {key: figures[key] for key in ("logged", "delivered", "pending", "filtered", "difference", "holds")} == {
        "logged": 10, "delivered": 10, "pending": 0, "filtered": 0, "difference": 0, "holds": True,
    }  # fmt: skip


def test_rows_of_a_killed_run_are_pending_until_they_are_synced(command: Command) -> None:
    directory = kill_a_run()

    code, out, _ = command("doctor", "runs")
    before = exporter(command)
    command("sync", "runs")
    after = exporter(command)

    assert code == 0
    assert f"rows are not delivered yet: milepost sync {directory}" in out.replace(
        str(Path("runs/demo")), str(directory.parent)
    )
    assert (before["logged"], before["delivered"] + before["pending"], before["holds"]) == (201, 201, True)
    assert before["pending"] > 0
    assert before["lag_s"] >= 0
    assert (after["delivered"], after["pending"], after["lag_s"]) == (201, 0, None)


def test_a_running_program_is_accounted_for(command: Command) -> None:
    run = milepost.init(project="demo", dir="runs", exporters=["file"], settings=QUIET)
    for i in range(1000):
        run.log({"x": i})
        if i % 100 == 0:
            figures = exporter(command)
            assert figures["holds"]
            assert figures["logged"] >= i
    run.finish()


def test_rows_that_a_processor_filtered_are_counted_as_such(command: Command) -> None:
    exporters = [{"file": {"processors": [{"sample": {"every": 4}}]}}]
    log_run([{"x": i} for i in range(20)], exporters=exporters)

    figures = exporter(command)

    assert (figures["logged"], figures["delivered"], figures["filtered"], figures["holds"]) == (20, 5, 15, True)


def test_a_sum_that_is_wrong_is_shown_loudly_and_exits_with_1(command: Command) -> None:
    directory = log_run([{"x": i} for i in range(10)])
    change_cursor(directory, delivered=12)

    code, out, _ = command("doctor", "runs")

    assert code == 1
    assert "THE ACCOUNTS ARE WRONG BY -2 ROWS: logged 10, but delivered 12 + pending 0" in out
    assert out.endswith("1 problem found\n")


def test_damage_is_named_with_its_place_and_exits_with_1(command: Command) -> None:
    directory = log_run([{"x": 0.5, "y": float(i)} for i in range(100)])
    (segment,) = directory.glob("journal/*/000000.mpj")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 0xFF
    segment.write_bytes(data)

    code, out, _ = command("doctor", "runs")

    assert code == 1
    assert f"damage: {segment}" in out.replace("runs/demo", str(directory.parent))
    assert "1 events are lost" in out
    assert "THE ACCOUNTS" not in out  # the row was delivered before it was damaged


def test_a_frame_that_a_full_disk_cut_is_no_damage_when_it_stands_elsewhere(command: Command) -> None:
    ended = script(
        "import milepost\n"
        "settings = {'capture': False, 'journal': {'max_bytes': 300_000}, 'finish': {'timeout': 0}}\n"
        "run = milepost.init(project='demo', id='full', dir='runs', exporters=['file'], settings=settings)\n"
        "for step in range(10_000):\n"
        "    run.log({'x': step, 'text': 'x' * 50})\n"
        "run.finish()\n"
    )
    assert "they are in shared memory until this machine restarts" in ended.stderr

    code, out, _ = command("doctor", "runs")  # the rest is in shared memory
    assert (code, "damage" in out) == (0, False)
    assert command("sync", "runs").code == 0
    code, out, _ = command("doctor", "runs")  # the rest is in the next segment
    assert (code, "damage" in out) == (0, False)
    assert "10,000 rows logged" in out

    (segment,) = Path("runs/demo/full").glob("journal/*/000001.mpj")
    with segment.open("r+b") as file:
        file.truncate(segment.stat().st_size - 5)
    code, out, _ = command("doctor", "runs")  # the rest of this one is nowhere
    assert (code, "damage" in out) == (1, True)


def test_rows_whose_segments_were_trimmed_stay_accounted_for(command: Command) -> None:
    directory = kill_a_run()
    command("sync", "runs")  # recovery put the rest into a second segment
    (segment,) = directory.glob("journal/*/000000.mpj")
    segment.unlink()

    figures = exporter(command)

    assert (figures["logged"], figures["delivered"], figures["pending"], figures["holds"]) == (201, 201, 0, True)
    assert command("doctor", "runs").code == 0


def test_rejected_and_dropped_rows_are_problems_and_told_by_reason(command: Command) -> None:
    directory = log_run([{"x": i} for i in range(10)])
    change_cursor(directory, delivered=7, rejected={"too old": 2}, dropped={"disk full": 1})

    code, out, _ = command("doctor", "runs")

    assert code == 1
    assert "2 rows rejected: too old" in out
    assert "1 row dropped: disk full" in out
    assert "2 problems found" in out


def test_the_file_of_rows_that_a_back_end_refused_is_named(command: Command) -> None:
    class Refusing:
        name = "refusing"

        def export(self, batch: Any) -> milepost.ExportResult:
            return milepost.ExportResult.rejected(3, "not today")

    run = milepost.init(project="demo", id="refused", dir="runs", exporters=[Refusing()], settings=QUIET)
    for i in range(3):
        run.log({"x": i})
    run.finish()

    code, out, _ = command("doctor", "runs")

    assert code == 1
    assert "3 rows rejected: not today; they are set aside in" in out
    (path,) = Path("runs").glob("demo/refused/journal/*/rejected-refusing.jsonl")
    assert str(path) in out.replace("\n", "")


def test_calls_whose_step_was_behind_are_told_and_are_no_problem(command: Command) -> None:
    run = milepost.init(project="demo", id="stale", dir="runs", exporters=["file"], settings=QUIET)
    run.log({"x": 1}, step=5, commit=True)
    for step in range(3):
        run.log({"x": 2}, step=step)
    run.finish()

    code, out, _ = command("doctor", "runs")
    assert code == 0
    assert "3 calls of log() made no row: the step was behind the run's" in out
    assert "3 calls of log(): the step was behind the run's" in command("show", "--dir", "runs").out


def test_an_exporter_that_failed_is_a_problem_when_its_program_is_gone(command: Command) -> None:
    directory = log_run([{"x": i} for i in range(10)])
    change_cursor(directory, delivered=0, segment=0, offset=0, seq=-1, last_error="connection refused")

    code, out, _ = command("doctor", "runs")

    assert code == 1
    assert "10 rows wait: connection refused" in out


def test_the_machine_is_checked_where_nothing_was_logged_yet(command: Command) -> None:
    code, out, _ = command("doctor")

    assert code == 0
    for fact in ("shared memory: ", "disk: ", "config file: none", "exporters: console, file"):
        assert fact in out


def test_a_wrong_config_file_in_force_is_a_problem(command: Command) -> None:
    Path("milepost.yaml").write_text('file_format: "1.0"\nprojekt: x\n', encoding="utf-8")

    code, out, _ = command("doctor")

    assert code == 1
    assert 'unknown key "projekt"; did you mean "project"?' in out


def test_a_directory_that_was_named_and_is_not_there_is_an_error(command: Command) -> None:
    assert command("doctor", "nowhere").code == 2
