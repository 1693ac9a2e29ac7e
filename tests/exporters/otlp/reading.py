"""Reading remote write requests: snappy, protobuf, and the samples of one metric."""

import struct

from cramjam import snappy

from milepost.exporters.otlp import wire


def samples_in(body: bytes, name: str) -> list[tuple[int, float]]:
    """Time in milliseconds and value of every sample of a metric."""
    found: list[tuple[int, float]] = []
    for field, series in wire.fields(bytes(snappy.decompress_raw(body))):
        assert field == 1
        parts = [(number, value) for number, value in wire.fields(_bytes(series))]
        labels = [dict(wire.fields(_bytes(value))) for number, value in parts if number == 1]
        names = [_bytes(label.get(1, b"")) for label in labels]
        assert names == sorted(names), "labels stand in the order of their names"
        if {1: b"__name__", 2: name.encode()} in labels:
            for number, value in parts:
                if number == 2:
                    sample = dict(wire.fields(_bytes(value)))
                    (number_of,) = struct.unpack("<d", int(sample[1]).to_bytes(8, "little"))
                    found.append((int(sample[2]), number_of))
    return found


def _bytes(value: int | bytes) -> bytes:
    assert isinstance(value, bytes)
    return value
