"""A server that speaks first, before its port is redirected for the first time."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.privileged.helper_requests import apply, ask
from tests.privileged.hosts import APP, REDIRECTED, Admin, Host, Listeners
from tests.privileged.levels import ARM, NOW, ON, RESTORE, TRIAL, done, levels, refused

pytestmark = pytest.mark.real
MYSQL = b"J\x00\x00\x00\x0a8.0.36\x00"
SMTP = b"220 mail.example ESMTP\r\n"
RELEASE, REDIRECT = apply("released", "released"), apply("on", "on")


@contextlib.contextmanager
def greeting(host: Host, greets: bytes) -> Iterator[None]:
    """A server on the declared port that sends this to each client; b"": it waits for the client."""
    listener = host.space.inside(
        lambda: socket.create_server(("::", APP), family=socket.AF_INET6, dualstack_ipv6=True)
    )
    held: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                held.append(client)
                client.sendall(greets)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for each in (listener, *held):
            each.close()


@pytest.fixture
def admin(host: Host, ears: Listeners) -> Admin:
    return ears.add_proxy(host.space)


@pytest.fixture
def proxied(host: Host, admin: Admin) -> Host:
    """A host with a proxy, none of whose ports was redirected yet."""
    (host.prefix / REDIRECTED).unlink()
    return host


def opaque(host: Host, ports: str = "[8080]") -> None:
    text = host.config.read_text()
    host.config.write_text(text.replace("ports = [8080]", f"ports = [8080]\nopaque_ports = {ports}", 1))


@pytest.mark.parametrize("greets", [MYSQL, SMTP])
@pytest.mark.parametrize("request_", [REDIRECT, ARM, NOW, TRIAL], ids=["apply", "arm", "operator", "trial"])
def test_a_port_that_is_not_opaque_is_refused_whoever_asks(
    proxied: Host, greets: bytes, request_: dict[str, str]
) -> None:
    done(proxied, RELEASE)
    with greeting(proxied, greets):
        reason, detail = refused(proxied, request_)
    assert reason == "ServerSpeaksFirst"
    assert str(APP) in detail
    assert levels(proxied) == ("released", "released"), "the port stays as it was"


@pytest.mark.parametrize(
    ("configured", "value", "listed"),
    [("", "8080", "[8080]"), ("ports = [25, 8080]\nopaque_ports = [25]", "25,8080", "[25, 8080]")],
)
def test_the_remedy_makes_the_port_opaque_and_keeps_those_that_are(
    proxied: Host, configured: str, value: str, listed: str
) -> None:
    if configured:
        proxied.config.write_text(proxied.config.read_text().replace("ports = [8080]", configured, 1))
    done(proxied, RELEASE)
    with greeting(proxied, SMTP):
        _, answer = ask(proxied, NOW)
    assert answer["remedy"] == (
        f"kubectl annotate externalworkload db-1 -n shop config.linkerd.io/opaque-ports={value};"
        f" set workload.opaque_ports = {listed}; then: fairlead proxy restart; fairlead redirect apply"
    )


def test_an_operator_accepts_a_server_that_speaks_first_before_the_agent_redirects_it(proxied: Host) -> None:
    done(proxied, RELEASE)
    code, answer = ask(proxied, {"verb": "redirect accept-greetings"})
    assert (code, answer["ports"]) == (0, [APP])
    with greeting(proxied, SMTP):
        assert levels(proxied, REDIRECT) == ON


@pytest.mark.parametrize("greets", [MYSQL, SMTP])
def test_an_opaque_port_is_redirected(proxied: Host, greets: bytes) -> None:
    opaque(proxied)
    with greeting(proxied, greets):
        assert levels(proxied, REDIRECT) == ON


@pytest.mark.parametrize("request_", [REDIRECT, ARM, NOW, TRIAL], ids=["apply", "arm", "operator", "trial"])
def test_an_opaque_port_that_the_proxy_was_not_started_with_waits_for_its_restart(
    proxied: Host, admin: Admin, request_: dict[str, str]
) -> None:
    """It would detect the protocol of the port's first connection, and of the first one after each 90 s."""
    opaque(proxied)
    admin.ports = "25,9000-9001"
    done(proxied, RELEASE)
    with greeting(proxied, SMTP):
        code, answer = ask(proxied, request_)
        assert (code, answer["reason"]) == (1, "ServerSpeaksFirst")
        assert answer["remedy"] == "fairlead proxy restart; then: fairlead redirect apply"
        admin.ports = "8000-8090"
        assert levels(proxied, REDIRECT) == ON


def test_opaque_or_not_a_server_that_waits_is_redirected(proxied: Host) -> None:
    with greeting(proxied, b""):
        assert levels(proxied, REDIRECT) == ON


def test_a_person_may_force_a_port_that_is_not_opaque(proxied: Host) -> None:
    with greeting(proxied, SMTP):
        assert levels(proxied, {**NOW, "force": "yes"}) == ON


def test_a_port_that_was_redirected_once_is_not_asked_again_opaque_or_not(proxied: Host) -> None:
    """A restart, a boot, or an application that is replaced removes no redirect."""
    assert levels(proxied, REDIRECT) == ON
    done(proxied, RELEASE)
    with greeting(proxied, SMTP):
        assert levels(proxied, REDIRECT) == ON
        assert levels(proxied, RESTORE) == ON


def test_opaque_ports_never_stop_a_block(proxied: Host) -> None:
    with greeting(proxied, SMTP):
        code, answer = ask(proxied, apply("block", "released"))
    assert (code, answer["inbound"]) == (0, "block")
