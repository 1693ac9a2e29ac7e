"""Figures of the server itself, for Prometheus, at /metrics: how much came in, what waits, how large it is."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from milepost.server.auth import Principal
from milepost.server.otlp import Receiver
from milepost.server.problems import Problem
from milepost.server.proxy_users import ProxyUsers
from milepost.server.store import Store
from milepost.server.store.sqlite import SqliteStore

router = APIRouter(tags=["operation"])


@router.get(
    "/metrics",
    response_model=None,
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": __doc__}},
)
def metrics(request: Request) -> Response:
    """Figures of the server itself in the text format of Prometheus."""
    principal: Principal | None = request.scope.get("principal")
    if principal is not None and principal.project is not None:
        raise Problem(403, "forbidden", "these are figures of the whole server, and this key is for one project")
    store: Store = request.app.state.store
    figures: list[tuple[str, str, str, float]] = [
        ("milepost_server_runs", "gauge", "Runs that are stored.", sum(len(store.runs(p)) for p in store.projects())),
        ("milepost_server_event_streams", "gauge", "Open event streams.", request.app.state.streams),
    ]
    users: ProxyUsers | None = request.app.state.users
    if users is not None:
        text = "Requests that named a user and came from no trusted proxy."
        figures.append(("milepost_server_ignored_user_headers_total", "counter", text, users.ignored.value))
    if isinstance(store, SqliteStore):
        ingest = store.ingest
        waiting, oldest, size = store.backlog()
        runs, batches = store.unreadable()
        figures += [
            ("milepost_server_batches_total", "counter", "Batches that were acknowledged.", ingest.batches),
            ("milepost_server_rows_total", "counter", "Rows that were stored.", ingest.rows),
            ("milepost_server_points_total", "counter", "Values that were stored.", ingest.points),
            ("milepost_server_duplicates_total", "counter", "Rows and events that came again.", ingest.duplicates),
            ("milepost_server_uncompacted_rows", "gauge", "Rows that are not in chunks yet.", waiting),
            ("milepost_server_uncompacted_seconds", "gauge", "Age of the oldest of them.", oldest),
            ("milepost_server_unreadable_runs", "gauge", "Runs that are damaged and not served.", runs),
            ("milepost_server_unreadable_batches", "gauge", "Batches that are damaged and set aside.", batches),
            ("milepost_server_database_bytes", "gauge", "Size of the database.", size),
        ]
    lines = [f"# HELP {name} {text}\n# TYPE {name} {kind}\n{name} {value}\n" for name, kind, text, value in figures]
    lines += _otlp_lines(request.app.state.otlp)
    return Response("".join(lines), media_type="text/plain; version=0.0.4")


def _otlp_lines(receiver: Receiver) -> list[str]:
    """What OpenTelemetry clients sent and was not taken, by signal and reason."""
    name = "milepost_server_otlp_rejected_total"
    lines = [f"# HELP {name} Points and log records that were not taken.\n# TYPE {name} counter\n"]
    for (signal, reason), count in sorted(receiver.rejected.items()):
        lines.append(f'{name}{{signal="{signal}",reason="{reason}"}} {count}\n')
    return lines
