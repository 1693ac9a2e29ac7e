"""The OpenTelemetry log SDK: a record per row through its batch processor, written as JSON lines.

Its queue holds 2,048 records by default and drops the oldest when it is full; here it is large enough to keep them all.
"""

from pathlib import Path
from typing import Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, ConsoleLogRecordExporter

from bench.subjects import Subject


def start(directory: Path) -> Subject:
    """A logger whose batches end in a file."""
    file = (directory / "records.jsonl").open("w")
    exporter = ConsoleLogRecordExporter(out=file, formatter=lambda record: record.to_json(indent=None) + "\n")
    provider = LoggerProvider()
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter, max_queue_size=2_000_000))
    logger = provider.get_logger("bench")

    def log(row: dict[str, Any], step: int | None = None) -> None:
        logger.emit(LogRecord(severity_number=SeverityNumber.INFO, event_name="row", attributes=row))

    def finish() -> None:
        provider.force_flush(300_000)
        provider.shutdown()
        file.close()

    return Subject(log, finish)
