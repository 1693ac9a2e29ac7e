"""A million rows of 10 floats with the default exporters: the whole bill."""

from bench import samples, subjects
from bench.benchmark import Benchmark, Task
from bench.measuring import Figures, Usage, directory_bytes
from bench.samples import COUNT


def measure(task: Task) -> Figures:
    """Seconds to the last call and to the end of finish(), processor time, memory, and bytes of each kind of file."""
    rows = samples.rows("floats")
    subject = subjects.start(task.subject, task.directory)
    log = subject.log
    for row in rows:
        log(row)
    usage = Usage()
    for _ in range(task.size // COUNT):
        for row in rows:
            log(row)
    logged_s = usage.seconds()
    subject.finish()
    finished_s = usage.seconds()
    done = task.size // COUNT * COUNT
    return {
        "logged_s": logged_s,
        "finished_s": finished_s,
        "cpu_us_per_row": usage.cpu_s() / done * 1e6,
        "memory_growth_mb": usage.memory_growth_mb(),
        "journal_bytes_per_row": directory_bytes(task.directory, "**/journal/**/*") / (done + COUNT),
        "disk_bytes_per_row": directory_bytes(task.directory) / (done + COUNT),
        "rows": done,
    }


MILLION = Benchmark(
    title="A million rows of 10 floats, default exporters, finished",
    measure=measure,
    fields=(
        "logged_s",
        "finished_s",
        "cpu_us_per_row",
        "memory_growth_mb",
        "journal_bytes_per_row",
        "disk_bytes_per_row",
        "rows",
    ),
    cases={"floats": ("floor", "milepost")},
    sizes={"tiny": 640, "quick": 200_000, "full": 1_000_000},
)
