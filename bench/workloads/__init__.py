"""The questions, in the order in which they are asked."""

from bench.benchmark import Benchmark
from bench.workloads import (
    calls,
    conditions,
    media,
    million,
    otlp,
    otlp_memory,
    reading,
    server,
    side_by_side,
    slow_disk,
    startup,
    threads,
    training,
)

BENCHMARKS: dict[str, Benchmark] = {
    "calls": calls.CALLS,
    "side_by_side": side_by_side.SIDE_BY_SIDE,
    "kinds": calls.KINDS,
    "cold": conditions.COLD,
    "contention": conditions.CONTENTION,
    "no_shared_memory": conditions.NO_SHARED_MEMORY,
    "training": training.TRAINING,
    "threads": threads.THREADS,
    "million": million.MILLION,
    "slow_disk": slow_disk.SLOW_DISK,
    "startup": startup.STARTUP,
    "reading": reading.READING,
    "media": media.MEDIA,
    "otlp_encoding": otlp.ENCODING,
    "otlp_shipping": otlp.SHIPPING,
    "otlp_latency": otlp.LATENCY,
    "otlp_memory": otlp_memory.MEMORY,
    "server_ingest": server.INGEST,
    "server_reads": server.READS,
    "server_live": server.LIVE,
    "servers": server.SERVERS,
}
