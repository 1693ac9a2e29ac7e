"""How programs and the shipper find each other and speak: what may travel, who may listen, where they meet."""

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import milepost
from milepost.sdk.configuration import Component
from milepost.sdk.configuration.node import Secret
from milepost.sdk.shipper.listening import listen, receive
from milepost.sdk.shipper.meeting import connect, is_mine, meeting, send
from milepost.sdk.shipper.plan import Plan, decode_plan, shipped


def exchanged(message: dict[str, object]) -> dict[str, object] | None:
    """A message that went through a socket."""
    one, other = socket.socketpair()
    with one, other:
        send(one, message)
        return receive(other)


def test_secrets_and_paths_of_a_plan_arrive_as_what_they_are() -> None:
    component = Component(
        name="otlp",
        options={"headers": {"authorization": Secret("Bearer abc")}, "tls": {"ca_file": Path("/etc/ca.pem")}},
        processors=(Component(name="filter", options={"include": ["a"]}),),
    )
    handed = shipped("otlp", component, {"headers": "***"})
    assert handed is not None

    found = exchanged({"op": "serve", "plan": Plan(run_dir="/runs/p/r", exporters=(handed,), local=("file",))})

    assert found is not None
    plan = decode_plan(found["plan"])
    options = plan.exporters[0].component().options
    assert options["headers"]["authorization"] == "Bearer abc"
    assert "abc" not in repr(plan)
    assert options["tls"]["ca_file"] == Path("/etc/ca.pem")
    assert plan.exporters[0].component().processors[0].options == {"include": ["a"]}
    assert (plan.run_dir, plan.local) == ("/runs/p/r", ("file",))


@pytest.mark.parametrize(
    "component",
    [
        Component(name="mine", object=print),
        Component(name="otlp", options={"callback": print}),
        Component(name="otlp", processors=(Component(name="lambda", object=lambda event: event),)),
    ],
    ids=["an exporter", "an option", "a processor"],
)
def test_what_only_its_program_has_is_not_handed_over(component: Component) -> None:
    assert shipped("x", component, None) is None


def test_a_connection_that_ends_in_the_middle_of_a_message_is_no_message() -> None:
    one, other = socket.socketpair()
    with other:
        with one:
            one.sendall(b"\x10\x00\x00\x00abc")
        assert receive(other) is None


def test_they_meet_also_where_the_path_is_longer_than_an_address_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    monkeypatch.setenv("MILEPOST_SHM", str(deep))
    place = meeting(tmp_path)

    with listen(place.socket) as listener, contextlib.closing(connect(place.socket)) as connection:
        accepted, _ = listener.accept()
        with accepted:
            assert is_mine(accepted)
            assert is_mine(connection)
    assert place.socket.stat().st_mode & 0o077 == 0
    assert place.socket.parent.stat().st_mode & 0o077 == 0


def test_programs_with_other_proxies_or_certificates_meet_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILEPOST_SHM", str(tmp_path))
    here = meeting(tmp_path, {"PATH": "/bin"}).socket

    assert meeting(tmp_path, {"PATH": "/usr/bin", "OTEL_SERVICE_NAME": "a"}).socket == here
    assert meeting(tmp_path, {"HTTPS_PROXY": "http://proxy:3128"}).socket != here
    assert meeting(tmp_path, {"https_proxy": "http://proxy:3128"}).socket != here
    assert meeting(tmp_path, {"SSL_CERT_FILE": "/etc/other.pem"}).socket != here
    (tmp_path / "other").mkdir()
    assert meeting(tmp_path / "other", {}).socket != here


def test_a_program_meets_its_shipper_however_the_interpreter_was_called_and_milepost_was_found(tmp_path: Path) -> None:
    script = "import sys; sys.path[:0] = sys.argv[2:]; from pathlib import Path; "
    script += "from milepost.sdk.shipper.meeting import meeting; print(meeting(Path(sys.argv[1])).socket)"
    place = Path(sys.executable).parent
    around = os.path.join("..", place.name, Path(sys.executable).name)
    found = os.path.relpath(Path(milepost.__file__).parent.parent, place)

    def told(executable: str, *paths: str) -> str:
        command = [executable, "-c", script, str(tmp_path), *paths]
        return subprocess.run(command, cwd=place, capture_output=True, text=True, check=True).stdout

    assert told(around) == told(sys.executable)
    assert told(sys.executable, found) == told(sys.executable)
