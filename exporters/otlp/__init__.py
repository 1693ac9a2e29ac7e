"""otlp: rows as OpenTelemetry metrics and log records, to whatever speaks OTLP.

exporter.py   the exporter, one part for each signal
target.py     where a signal goes: options, OTEL_EXPORTER_OTLP_* variables, endpoint rules
resource.py   who speaks: the attributes of the resource
points.py     which numbers of a batch become points of which series
metrics.py    those series as an OTLP request
records.py    rows and events as log records of an OTLP request
wire.py       protobuf, as far as it is needed here
remote_write.py  the points as a request of Prometheus remote write instead
sender.py     one request and its answer; over_http.py and over_grpc.py do it
shipment.py   a batch until all of it is settled: splitting, retries, single bad points
"""
