"""Wrong settings: rows stay, and the reason names the endpoint, the cause and the setting. Nothing falls back to less."""

import contextlib
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

import milepost
from milepost.exporters.otlp.exporter import OtlpExporter
from milepost.exporters.otlp.options import with_environment
from milepost.exporters.otlp.target import target
from milepost.exporters.prometheus_remote_write import PrometheusRemoteWriteExporter
from milepost.sdk.configuration import load
from milepost.sdk.errors import ConfigurationError
from milepost.sdk.testing import make_rows, make_run
from tests.exporters.otlp.answering import Reply, grpc_backend, http_backend
from tests.exporters.otlp.processes import Collector, free_port
from tests.exporters.otlp.sink import Sink


class Certificates:
    """An authority, what it issued to a server and a client, and the same of another authority."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.server = self.authority.issue_cert("localhost", "127.0.0.1")
        self.client = self.authority.issue_cert("client.example.org")
        self.ca_file = folder / "ca.pem"
        self.other_ca_file = folder / "other-ca.pem"
        self.cert_file = folder / "client.pem"
        self.key_file = folder / "client.key"
        self.authority.cert_pem.write_to_path(str(self.ca_file))
        trustme.CA().cert_pem.write_to_path(str(self.other_ca_file))
        self.client.cert_chain_pems[0].write_to_path(str(self.cert_file))
        self.client.private_key_pem.write_to_path(str(self.key_file))

    def context(self, *, mutual: bool = False) -> ssl.SSLContext:
        """For an HTTPS server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.configure_cert(context)
        if mutual:
            self.authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def credentials(self, *, mutual: bool = False) -> grpc.ServerCredentials:
        """For a gRPC server."""
        pair = (self.server.private_key_pem.bytes(), self.server.cert_chain_pems[0].bytes())
        roots = self.authority.cert_pem.bytes() if mutual else None
        return grpc.ssl_server_credentials([pair], root_certificates=roots, require_client_auth=mutual)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def result_of(tmp_path: Path, **options: Any) -> str:
    """The outcome of one export, and its reason."""
    exporter = OtlpExporter(signals=["metrics"], **options)
    exporter.start(make_run(tmp_path), None)
    result = exporter.export(make_rows(3))
    exporter.shutdown()
    return f"{result.outcome}: {result.reason}"


# -- TLS ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_tls_and_mutual_tls(protocol: str, tmp_path: Path, certificates: Certificates) -> None:
    tls = {"ca_file": certificates.ca_file, "cert_file": certificates.cert_file, "key_file": certificates.key_file}
    for mutual in (False, True):
        options = {"protocol": protocol, "tls": tls if mutual else {"ca_file": certificates.ca_file}}
        if protocol == "grpc":
            with grpc_backend(credentials=certificates.credentials(mutual=mutual)) as over_grpc:
                assert result_of(tmp_path, endpoint=over_grpc.address, **options) == "success: "
        else:
            with http_backend(tls=certificates.context(mutual=mutual)) as over_http:
                assert result_of(tmp_path, endpoint=over_http.address, **options) == "success: "


def test_a_certificate_of_an_unknown_authority(tmp_path: Path, certificates: Certificates) -> None:
    with http_backend(tls=certificates.context()) as backend:
        for tls in ({}, {"ca_file": certificates.other_ca_file}):
            said = result_of(tmp_path, endpoint=backend.address, tls=tls)
            assert said.startswith(f"retry: {backend.address}/v1/metrics: its certificate is not trusted")
            assert "set tls: {ca_file: ...}" in said
        assert not backend.requests
    with grpc_backend(credentials=certificates.credentials()) as over_grpc:
        said = result_of(
            tmp_path, protocol="grpc", endpoint=over_grpc.address, tls={"ca_file": certificates.other_ca_file}
        )
        assert said.startswith(f"retry: {over_grpc.address}: its certificate is not trusted (unable to get")
        assert "set tls: {ca_file: ...}" in said
        assert not over_grpc.requests
    with grpc_backend() as plain:
        address = plain.address.replace("localhost", "127.0.0.1")  # of two addresses it is the last that is told
        wrong = address.replace("http://", "https://")
        said = result_of(tmp_path, protocol="grpc", endpoint=wrong)
        assert said.startswith(f"retry: {wrong} does not speak TLS")
        assert f"set endpoint to {address}" in said
        bare = plain.address.removeprefix("http://")
        said = result_of(tmp_path, protocol="grpc", endpoint=bare)
        assert f"write endpoint: http://{bare}" in said


def test_grpc_over_tls_to_a_back_end_that_is_far_away(tmp_path: Path, certificates: Certificates) -> None:
    """150 ms each way: a handshake takes most of a second."""

    def passed_on(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                time.sleep(0.15)
                target.sendall(piece)
        for end in (source, target):
            with contextlib.suppress(OSError):  # the other thread has closed it
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    with grpc_backend(credentials=certificates.credentials()) as near, socket.create_server(("127.0.0.1", 0)) as far:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = far.accept()
                    server = socket.create_connection(("127.0.0.1", int(near.address.rpartition(":")[2])))
                    for pair in ((client, server), (server, client)):
                        threading.Thread(target=passed_on, args=pair, daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        endpoint = f"https://127.0.0.1:{far.getsockname()[1]}"
        said = result_of(tmp_path, protocol="grpc", endpoint=endpoint, tls={"ca_file": certificates.ca_file})

    assert said == "success: "


def test_a_server_that_wants_a_clients_certificate(tmp_path: Path, certificates: Certificates) -> None:
    tls = {"ca_file": certificates.ca_file}
    with http_backend(tls=certificates.context(mutual=True)) as backend:
        said = result_of(tmp_path, endpoint=backend.address, tls=tls)
    with grpc_backend(credentials=certificates.credentials(mutual=True)) as over_grpc:
        said_of_grpc = result_of(tmp_path, endpoint=over_grpc.address, protocol="grpc", tls=tls)
    for address, told in ((backend.address, said), (over_grpc.address, said_of_grpc)):
        assert told.startswith(f"retry: {address}")
        assert "set tls: {cert_file: ..., key_file: ...}" in told
    assert not backend.requests
    assert not over_grpc.requests


def test_https_to_a_server_without_tls_and_http_to_one_with(tmp_path: Path, certificates: Certificates) -> None:
    with http_backend() as plain, http_backend(tls=certificates.context()) as secure:
        wrong = plain.address.replace("http://", "https://")
        said = result_of(tmp_path, endpoint=wrong)
        assert said.startswith(f"retry: {wrong}/v1/metrics does not speak TLS")
        assert said.endswith("if that is right, begin endpoint with http://")

        wrong = secure.address.replace("https://", "http://")
        said = result_of(tmp_path, endpoint=wrong)
        assert said.startswith(f"retry: {wrong}/v1/metrics")
        assert "TLS wants https://" in said
        assert not plain.requests
        assert not secure.requests


@pytest.mark.parametrize("option", ["ca_file", "cert_file", "key_file"])
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_file_of_tls_that_is_not_there_is_named_with_its_option(
    protocol: str, option: str, tmp_path: Path, certificates: Certificates
) -> None:
    files = {"ca_file": certificates.ca_file, "cert_file": certificates.cert_file, "key_file": certificates.key_file}
    missing = tmp_path / "none.pem"

    said = result_of(tmp_path, protocol=protocol, endpoint="https://localhost:1", tls={**files, option: missing})

    assert said.startswith("retry: https://localhost:1")
    assert f"{missing} cannot be read (No such file or directory); look at tls: {{{option}: ...}}" in said


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_files_of_tls_that_do_not_belong_together(protocol: str, tmp_path: Path, certificates: Certificates) -> None:
    """grpcio would end the whole process for some of them."""
    cert, key, other = certificates.cert_file, certificates.key_file, tmp_path / "other.key"
    trustme.CA().issue_cert("other").private_key_pem.write_to_path(str(other))
    told = {
        (cert, None): f"{cert} is not a certificate and its key",
        (None, key): f"{key} is a key without its certificate",
        (cert, other): f"{cert} and {other} are not a certificate and its key",
    }
    for (cert_file, key_file), why in told.items():
        tls = {"ca_file": certificates.ca_file, "cert_file": cert_file, "key_file": key_file}
        said = result_of(tmp_path, protocol=protocol, endpoint="https://localhost:1", tls=tls)
        assert said.startswith("retry: https://localhost:1")
        assert f"tls cannot be used: {why}" in said
    said = result_of(tmp_path, protocol=protocol, endpoint="https://localhost:1", tls={"ca_file": key})
    assert f"{key} holds no certificates" in said
    assert "look at tls: {ca_file: ...}" in said


def test_a_clients_certificate_of_an_authority_that_the_server_does_not_know(
    tmp_path: Path, certificates: Certificates
) -> None:
    other = trustme.CA().issue_cert("client.example.org")
    cert_file, key_file = tmp_path / "other.pem", tmp_path / "other.key"
    other.cert_chain_pems[0].write_to_path(str(cert_file))
    other.private_key_pem.write_to_path(str(key_file))
    tls = {"ca_file": certificates.ca_file, "cert_file": cert_file, "key_file": key_file}

    with http_backend(tls=certificates.context(mutual=True)) as backend:
        said = result_of(tmp_path, endpoint=backend.address, tls=tls)

    assert said.startswith(f"retry: {backend.address}")
    assert "does not trust the client's certificate; look at tls: {cert_file: ..., key_file: ...}" in said


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_one_file_may_hold_the_clients_certificate_and_its_key(
    protocol: str, tmp_path: Path, certificates: Certificates
) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(certificates.key_file.read_bytes() + certificates.cert_file.read_bytes())
    tls = {"ca_file": certificates.ca_file, "cert_file": both}

    if protocol == "grpc":
        with grpc_backend(credentials=certificates.credentials(mutual=True)) as over_grpc:
            said = result_of(tmp_path, protocol=protocol, endpoint=over_grpc.address, tls=tls)
    else:
        with http_backend(tls=certificates.context(mutual=True)) as over_http:
            said = result_of(tmp_path, protocol=protocol, endpoint=over_http.address, tls=tls)

    assert said == "success: "


# -- protocols, paths, credentials -----------------------------------------------------------------------------------------------


def test_the_wrong_protocol_on_a_port(tmp_path: Path, collecting: tuple[Collector, Sink]) -> None:
    running, sink = collecting

    http_to_grpc = result_of(tmp_path, endpoint=running.grpc)
    grpc_to_http = result_of(tmp_path, endpoint=running.http, protocol="grpc")
    with http_backend() as old:
        grpc_to_http_1 = result_of(tmp_path, endpoint=old.address, protocol="grpc")

    said_of = {running.grpc: http_to_grpc, running.http: grpc_to_http, old.address: grpc_to_http_1}
    for address, said in said_of.items():
        assert said.startswith(f"retry: {address}")
        assert "look at protocol and endpoint" in said
    sink.instance = "run1"
    assert not [*sink.all_metrics()]


def test_a_path_that_is_there_twice(tmp_path: Path, collecting: tuple[Collector, Sink]) -> None:
    running, sink = collecting

    said = result_of(tmp_path, endpoint=f"{running.http}/v1/metrics")

    assert said.startswith(f"retry: {running.http}/v1/metrics/v1/metrics answers HTTP 404")
    assert f"the path is there twice: an endpoint for both signals has none, such as {running.http}" in said
    sink.instance = "run1"
    assert not [*sink.all_metrics()]


def test_a_path_of_its_own_with_v1_in_it_is_no_path_that_is_there_twice(tmp_path: Path) -> None:
    with http_backend(lambda body: Reply(404, b"404 page not found")) as backend:
        said = result_of(tmp_path, endpoint=f"{backend.address}/api/v1/otlp")

    assert "twice" not in said
    assert said.endswith("look at protocol and endpoint: gRPC is usually on port 4317, HTTP on 4318")


def test_remote_write_to_another_path_names_the_usual_one(tmp_path: Path) -> None:
    said = {}
    with http_backend(lambda body: Reply(404)) as backend:
        for path in ("", "/api/v1/write/api/v1/write"):
            exporter = PrometheusRemoteWriteExporter(endpoint=f"{backend.address}{path}")
            exporter.start(make_run(tmp_path), None)
            said[path] = exporter.export(make_rows(3)).reason
            exporter.shutdown()

        assert said[""].startswith(f"{backend.address} answers HTTP 404; nothing takes data there; look at endpoint: ")
        assert "path /api/v1/write" in said[""]
        once = f"{backend.address}/api/v1/write"
        assert said["/api/v1/write/api/v1/write"].endswith(f"the path is there twice: set endpoint to {once}")


def test_a_redirect_is_not_followed_and_not_taken_for_success(tmp_path: Path) -> None:
    with http_backend() as other, http_backend() as backend:
        backend.answer = lambda body: Reply(307, headers={"location": f"{other.address}/v1/metrics"})
        said = result_of(tmp_path, endpoint=backend.address)

        assert said.startswith(f"retry: {backend.address}/v1/metrics answers HTTP 307")
        assert f"a redirect to {other.address}/v1/metrics, which is not followed; set endpoint" in said
        assert not other.requests


@pytest.mark.parametrize(
    ("status", "setting"),
    [
        (401, "set headers"),
        (403, "look at headers"),
        (404, "look at protocol and endpoint"),
        (405, "look at protocol and endpoint"),
        (415, "protocol and compression"),
    ],
)
def test_a_status_that_settings_mend_names_the_setting_and_keeps_the_rows(
    status: int, setting: str, tmp_path: Path
) -> None:
    with http_backend(lambda body: Reply(status)) as backend:
        said = result_of(tmp_path, endpoint=backend.address)

    assert said.startswith(f"retry: {backend.address}/v1/metrics answers HTTP {status}")
    assert setting in said


@pytest.mark.parametrize(
    ("code", "setting"), [("UNAUTHENTICATED", "set headers"), ("UNIMPLEMENTED", "look at protocol and endpoint")]
)
def test_a_grpc_code_that_settings_mend_names_the_setting(code: str, setting: str, tmp_path: Path) -> None:
    def answer(request: bytes, context: Any) -> bytes:
        context.abort(grpc.StatusCode[code], "no")
        return b""

    with grpc_backend(answer) as backend:
        said = result_of(tmp_path, endpoint=backend.address, protocol="grpc")

    assert said.startswith(f"retry: {backend.address} answers {code}")
    assert setting in said


def test_nobody_listens(tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{free_port()}"

    for protocol in ("http/protobuf", "grpc"):
        said = result_of(tmp_path, endpoint=address, protocol=protocol)
        assert said.startswith(f"retry: {address}")


@pytest.mark.parametrize("endpoint", ["localhost:4318", "ftp://localhost:4318", "http://", "://x"])
def test_an_endpoint_that_is_none(endpoint: str, tmp_path: Path) -> None:
    said = result_of(tmp_path, endpoint=endpoint)

    assert said.startswith(f"retry: endpoint {endpoint}")
    assert "write endpoint: http://" in said


def test_a_grpc_address_with_a_port_that_is_none(tmp_path: Path) -> None:
    said = result_of(tmp_path, endpoint="http://localhost:four", protocol="grpc")

    assert said.startswith("retry: endpoint http://localhost:four: it is no address for gRPC")


def test_a_run_with_a_wrong_endpoint_goes_on_and_says_it_once_a_signal(caplog: pytest.LogCaptureFixture) -> None:
    settings = {
        "exporters": [{"otlp": {"endpoint": "localhost:4318"}}],
        "capture": False,
        "shipper": {"run_in": "thread"},
        "finish": {"timeout": 1500},
    }
    with milepost.init(project="digits", settings=settings) as run:
        for step in range(20):
            run.log({"loss": step})

    said = [record.getMessage() for record in caplog.records]
    assert sum("cannot deliver" in each for each in said) == 2
    assert sum("20 rows of" in each for each in said) == 2  # and at the end, how to deliver them
    assert all("it has no scheme; write endpoint: http://localhost:4318" in each for each in said)
    assert len(list(milepost.Api().run(run.path).scan_history())) == 20


def test_a_compression_that_does_not_exist_is_refused_where_it_is_written() -> None:
    with pytest.raises(ConfigurationError, match="compression is 'zip'; it must be one of gzip, deflate, none"):
        OtlpExporter(compression="zip")
    with pytest.raises(
        ConfigurationError, match=r"exporters\[0\]\.otlp\.compression: must be one of gzip, deflate, none"
    ):
        milepost.init(settings={"exporters": [{"otlp": {"compression": "zip"}}]})


@pytest.mark.parametrize("value", ["Bearer a\nb", "Bearer é"])
def test_a_header_that_cannot_be_sent(value: str, tmp_path: Path) -> None:
    said = result_of(tmp_path, endpoint="http://localhost:1", headers={"authorization": value})

    assert "header 'authorization' cannot be sent" in said
    assert "Bearer" not in said


def test_a_header_that_would_contradict_the_body(tmp_path: Path) -> None:
    said = result_of(tmp_path, endpoint="http://localhost:1", headers={"Content-Length": "3"})

    assert "header 'content-length' tells of the request's body, which is made here; leave it out" in said


# -- what is sent, and where to ------------------------------------------------------------------------------------


def test_headers_compression_and_content_type_are_sent(tmp_path: Path) -> None:
    headers = {"Authorization": "Bearer t", "x-scope-orgid": "7"}
    with http_backend() as backend:
        assert result_of(tmp_path, endpoint=backend.address, headers=headers, compression="gzip") == "success: "
    (sent,) = backend.headers
    assert (sent["authorization"], sent["x-scope-orgid"]) == ("Bearer t", "7")
    assert (sent["content-type"], sent["content-encoding"]) == ("application/x-protobuf", "gzip")

    with grpc_backend() as over_grpc:
        result_of(
            tmp_path, endpoint=over_grpc.address, protocol="grpc", headers_list="authorization=Bearer%20t,x-bin=ab"
        )
    assert (over_grpc.metadata[0]["authorization"], over_grpc.metadata[0]["x-bin"]) == ("Bearer t", b"ab")


@pytest.mark.parametrize(
    ("options", "environ", "expected"),
    [
        ({}, {}, ("http://localhost:4318/v1/metrics", "http://localhost:4318/v1/logs")),
        ({"endpoint": "http://a:1/"}, {}, ("http://a:1/v1/metrics", "http://a:1/v1/logs")),
        ({"endpoint": "http://a:1/otlp"}, {}, ("http://a:1/otlp/v1/metrics", "http://a:1/otlp/v1/logs")),
        ({"logs": {"endpoint": "http://b:2/x"}}, {}, ("http://localhost:4318/v1/metrics", "http://b:2/x")),
        ({}, {"ENDPOINT": "http://e:3"}, ("http://e:3/v1/metrics", "http://e:3/v1/logs")),
        ({}, {"ENDPOINT": "http://e:3", "LOGS_ENDPOINT": "http://l:4/y"}, ("http://e:3/v1/metrics", "http://l:4/y")),
        (
            {"endpoint": "http://a:1"},
            {"LOGS_ENDPOINT": "http://l:4/y"},
            ("http://a:1/v1/metrics", "http://a:1/v1/logs"),
        ),
        ({"protocol": "grpc"}, {}, ("localhost:4317", "localhost:4317")),
        ({"protocol": "grpc", "endpoint": "http://a"}, {}, ("a:80", "a:80")),
        ({}, {"PROTOCOL": "grpc", "ENDPOINT": "https://a:7/ignored"}, ("a:7", "a:7")),
        ({}, {"PROTOCOL": "carrier pigeon"}, ("http://localhost:4318/v1/metrics", "http://localhost:4318/v1/logs")),
    ],
)
def test_endpoints_follow_opentelemetrys_rules_and_variables_fill_what_the_file_leaves_open(
    options: dict[str, Any], environ: dict[str, str], expected: tuple[str, str]
) -> None:
    environ = {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in environ.items()}

    found = with_environment(options, environ)

    assert (target("metrics", found).url, target("logs", found).url) == expected
    assert with_environment(found, {}) == found


def test_variables_of_headers_timeouts_and_certificates() -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%20b,x=1",
        "OTEL_EXPORTER_OTLP_LOGS_HEADERS": "api-key=logs",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "2.5",
        "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT": "4000",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": "/ca.pem",
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "/client.pem",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": "/client.key",
    }

    found = with_environment({}, environ)
    metrics, logs = target("metrics", found), target("logs", found)

    assert metrics.headers == {"api-key": "a b", "x": "1"}
    assert logs.headers == {"api-key": "logs"}
    assert (metrics.timeout_s, logs.timeout_s) == (4.0, 2.5)
    assert (metrics.compression, metrics.ca_file, metrics.cert_file) == ("gzip", "/ca.pem", "/client.pem")
    assert target("metrics", with_environment({"headers": {"b": "2"}}, environ)).headers == {"b": "2"}


def test_a_variable_that_says_nothing_useful_is_told_and_has_no_effect(caplog: pytest.LogCaptureFixture) -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": " http://a:1 ",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "GRPC",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "zip",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "inf",
        "OTEL_EXPORTER_OTLP_INSECURE": "maybe",
        "OTEL_EXPORTER_OTLP_HEADERS": "hunter2,x=1",
    }

    found = target("metrics", with_environment({}, environ))

    assert (found.protocol, found.url, found.compression, found.timeout_s) == ("grpc", "a:1", "none", 10.0)
    assert found.headers == {"x": "1"}
    assert [record.getMessage() for record in caplog.records] == [
        'milepost: OTEL_EXPORTER_OTLP_HEADERS holds a part that is not "name=value", which is left out',
        "milepost: OTEL_EXPORTER_OTLP_COMPRESSION is 'zip' and has no effect; it must be one of gzip, deflate, none",
        "milepost: OTEL_EXPORTER_OTLP_TIMEOUT is 'inf' and has no effect; it must be a number of seconds",
        "milepost: OTEL_EXPORTER_OTLP_INSECURE is 'maybe' and has no effect; it must be true or false",
    ]


def test_certificates_named_in_a_file_start_at_that_file(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    file = folder / "milepost.yaml"
    file.write_text(
        'file_format: "1.0"\nexporters: [{otlp: {tls: {ca_file: ca.pem}, logs: {tls: {key_file: /abs/key.pem}}}}]\n',
        encoding="utf-8",
    )

    (component,) = load(config_file=file, environ={}).exporters
    found = with_environment(component.options, {})

    assert target("metrics", found).ca_file == str(folder / "ca.pem")
    assert target("logs", found).key_file == "/abs/key.pem"


@pytest.mark.parametrize("where", ["settings", "environment"])
def test_secrets_stand_in_no_stored_file(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter: dict[str, Any] = {"endpoint": "http://user:p@hunter2@localhost:1"}
    if where == "settings":
        exporter["headers"] = {"x": "hunter3"}
    else:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hunter4")
    settings = {
        "exporters": [{"otlp": exporter}],
        "capture": False,
        "shipper": {"run_in": "thread"},
        "finish": {"timeout": 300},
    }
    with milepost.init(project="digits", settings=settings) as run:
        run.log({"loss": 1.0})

    stored = b"".join(path.read_bytes() for path in Path(run.dir).rglob("*") if path.is_file())
    assert b"localhost:1/v1/metrics" in stored
    assert b"hunter" not in stored
