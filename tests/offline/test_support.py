"""`fairlead support`: with the agent dead, what it lists, asks and writes, and that no planted secret is in it."""

import asyncio
import http.server
import json
import random
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cli import main
from agent.core import proxy
from agent.offline.support import bundle, collect, parts, readers
from agent.offline.support.part import Missing, Part, Piece

JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"
PLANTED = ("planted-token", "planted-kubeconfig", "planted-variable", "planted-header", "planted-word", JWT)
CONFIGURATION = """
[api]
auth = "kubeconfig"
kubeconfig = "{etc}/kubeconfig"
token_file = "{etc}/other-token"
[[probe]]
kind = "exec"
command = ["/usr/bin/app", "planted-word"]
[[probe]]
kind = "http"
headers = {{ X-Anything = "planted-header" }}
"""


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """A host whose agent is dead, with a secret in every file that may hold one."""
    etc = tmp_path / "etc/fairlead"
    etc.mkdir(parents=True)
    (etc / "fairlead.toml").write_text(CONFIGURATION.format(etc=etc))
    (etc / "other-token").write_text("planted-token\n")
    env = [{"name": "A", "value": "planted-variable"}]
    users = [{"name": "u", "user": {"token": "planted-kubeconfig", "exec": {"env": env}}}]
    (etc / "kubeconfig").write_text(json.dumps({"users": users}))
    state = tmp_path / "var/lib/fairlead"
    state.mkdir(parents=True)
    (state / "phase").write_text(f"what another program wrote: planted-token planted-kubeconfig {JWT}")
    (state / "redirect-suspended").write_text("planted-variable planted-header")
    return tmp_path


def run(*words: str) -> int:
    return main.main(["support", *words])


def unpacked(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        members = {member.name.partition("/")[2]: tar.extractfile(member) for member in tar}
        return {name: file.read() for name, file in members.items() if file is not None}


def test_an_archive_without_an_agent(prefix: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = tmp_path / "support.tar.gz"
    assert run("--prefix", str(prefix), "--yes", "-o", str(archive)) == 0
    printed = capsys.readouterr().out
    assert archive.stat().st_mode & 0o777 == 0o600 and archive.stat().st_size <= bundle.MOST
    files = unpacked(archive)
    contents = files["contents.txt"].decode()
    wanted = parts.parts(str(prefix))
    for part in wanted:
        assert part.name in contents and part.name in printed
        assert part.name in files or f"{part.name}  {part.source}  (" in contents, "one that fails says why"
    assert "what another program wrote" in files["records.txt"].decode()
    assert "the proxy's admin port gives no /env.json" in contents
    assert "no agent" in files["status.txt"].decode() and b"configuration" in files["doctor.txt"]
    assert str(prefix / "etc/fairlead/other-token") in files["files.txt"].decode(), "names are listed"
    for name, content in {**files, "printed": printed.encode()}.items():
        assert not [secret for secret in PLANTED if secret.encode() in content], name


def test_nothing_is_written_without_an_answer(
    prefix: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "parts", lambda prefix: (Part("a.txt", "a", 9, lambda: _said("x" * 12)),))
    archive = tmp_path / "support.tar.gz"
    assert run("--prefix", str(prefix), "-o", str(archive)) == 1
    said = capsys.readouterr()
    assert "a.txt" in said.out and "not confirmed" in said.err and "--yes" in said.err
    assert not archive.exists()


@pytest.mark.parametrize(("answer", "written"), [("y\n", True), ("n\n", False), ("\n", False), ("", False)])
def test_the_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, written: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            assert "a.txt" in capsys.readouterr().out, "listed before"
            return answer

    monkeypatch.setattr(collect, "parts", lambda prefix: (Part("a.txt", "a", 9, lambda: _said("x")),))
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.chdir(tmp_path)
    assert (run("--prefix", str(tmp_path)) == 0) is written
    assert bool(list(tmp_path.glob("fairlead-support-*.tar.gz"))) is written


def test_no_file_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there, link = tmp_path / "there", tmp_path / "link"
    there.write_text("kept")
    link.symlink_to(tmp_path / "nowhere")
    for path in (there, link):
        assert run("--prefix", str(tmp_path), "--yes", "-o", str(path)) == 1
        assert "it exists" in capsys.readouterr().err
        with pytest.raises(bundle.Unwritable):
            bundle.write(path, b"other")
    assert there.read_text() == "kept" and not (tmp_path / "nowhere").exists()


def test_an_archive_stays_below_its_bound_whatever_the_parts_say() -> None:
    """Content that cannot be packed, and the longest causes."""
    noise = random.Random(1)
    pieces = [
        Piece(part.name, part.source, noise.randbytes(part.most), "x" * 1000) for part in parts.parts("/prefix")
    ]
    assert len(bundle.packed(pieces, "fairlead-support-" + "h" * 64, 0)) <= bundle.MOST


async def _said(text: str) -> str:
    return text


async def _failed() -> str:
    raise Missing("the API server said Bearer planted-token")


async def _never() -> str:
    await asyncio.Event().wait()
    return ""


async def test_parts_that_fail_or_hang_are_named_and_hold_up_no_other() -> None:
    wanted = (
        Part("hangs", "a program", 10, _never),
        Part("fails", "another", 10, _failed),
        Part("long", "a third", 10, lambda: _said("é" * 20)),
    )
    hangs, fails, long = await collect.of(wanted, frozenset({"planted-token"}), within=0.3)
    assert (hangs.content, hangs.trouble) == (b"", "no answer within 0.3 s")
    assert fails.trouble and "planted-token" not in fails.trouble
    assert len(long.content) == 10 and long.trouble == "cut: the first 10 of 40 bytes"


async def test_a_program_that_is_absent_fails_or_only_complains() -> None:
    with pytest.raises(Missing, match="cannot run no-such-program"):
        await readers.program("no-such-program")()
    with pytest.raises(Missing, match="sh: exit 3: why"):
        await readers.program("sh", "-c", "echo why >&2; exit 3")()
    said = await readers.program("sh", "-c", "echo found; echo but >&2; exit 4")()
    assert "found\n" in said and "(standard error)\nbut" in said and "(exit 4)" in said
    with pytest.raises(Missing, match="no end within"):
        await readers.program("sleep", "60", within=0.2)()


class _Admin(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"LINKERD2_PROXY_LOG": "info", "SOME_TOKEN": "planted-token"}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body if self.path == "/env.json" else b"metric 1\n" * 1000)

    def log_message(self, format: str, *arguments: object) -> None:
        """Not on standard error."""


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Admin) as server:
        monkeypatch.setattr(proxy, "ADMIN_LISTENER", server.server_address)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield
        server.shutdown()
        thread.join()


async def test_the_pages_of_the_proxy(admin: None) -> None:
    assert "metric 1" in await readers.page("/metrics", 1 << 20)()
    assert len(await readers.page("/metrics", 100)()) < 9100, "it is not read to its end"
    assert json.loads(await readers.running_environment()()) == {
        "LINKERD2_PROXY_LOG": "info",
        "SOME_TOKEN": "<masked>",
    }
