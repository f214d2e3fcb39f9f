"""`fairlead watcher` on the command line: what it refuses before it watches."""

import socket
from pathlib import Path

import pytest

from agent.adapters.kube import pod
from agent.cli import main


def refused(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    return main.main(["watcher", *options]), capsys.readouterr().err


def test_it_needs_a_cluster(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    code, said = refused(capsys)
    assert code == 69 and "cannot watch: this is not a pod" in said and "--kubeconfig FILE" in said


@pytest.mark.parametrize(
    "option",
    [
        ("--look-every", "0"),
        ("--shortest", "90", "--longest", "60"),
        ("--guard-enters", "0.4"),
        ("--guard-leaves", "1.5", "--guard-enters", "2"),
        ("--slow-every", "0"),
        ("--per-second", "0.5"),
        ("--guard-from", "0"),
        ("--longest", "315360000"),
    ],
)
def test_numbers_that_would_mark_a_fleet_are_refused(
    option: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = refused(capsys, "--kubeconfig", "/nowhere", *option)
    assert code == 2 and said.startswith("fairlead: cannot watch: ")


@pytest.mark.parametrize("listen", ["9990", "host:", ":9990", "[::1]:99999", "host:http"])
def test_an_address_has_a_port(listen: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        refused(capsys, "--listen", listen)
    assert caught.value.code == 2 and "is not ADDRESS:PORT" in capsys.readouterr().err


def test_an_address_that_is_in_use(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        code, said = refused(capsys, "--kubeconfig", str(tmp_path / "none"), "--listen", where)
    assert code == 69 and f"cannot listen on {where}: Address already in use" in said


async def test_the_account_of_a_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ca.crt").write_text("an authority")
    (tmp_path / "token").write_text("secret\n")
    monkeypatch.setattr(pod, "ACCOUNT", tmp_path)
    for host, server in (("10.96.0.1", "https://10.96.0.1:443"), ("fd00::1", "https://[fd00::1]:443")):
        credential = pod.credential({"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": "443"})
        assert credential is not None
        access = await credential.access()
        assert (access.server, access.token, access.authority) == (server, "secret", b"an authority")
    assert pod.credential({"KUBERNETES_SERVICE_HOST": "10.96.0.1"}) is None
