"""Names and rules of other programs: bytes that are not UTF-8, sets of tens of thousands, and none of it read on
the way to BLOCK."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core import text
from agent.core.facts import Level
from agent.privileged import Refusal
from agent.privileged.redirect import admission, handlers, request_cache
from agent.privileged.redirect.backends import nftables
from agent.privileged.system import sshd
from tests.privileged.firewalls import BACKENDS, docker, force
from tests.privileged.helper_requests import CHECK, REMOVE, apply
from tests.privileged.hosts import APP, Host, Listeners, listening
from tests.privileged.levels import ARM, FAILED, NOW, ON, RESTORE, closed, done, levels, redirected

CASES = Path(__file__).parents[1] / "cases"
BAD = b"caf\xe9"


@pytest.fixture(params=["declared", "all"])
def inbound(request: pytest.FixtureRequest, host: Host) -> str:
    text_ = host.config.read_text().replace("[redirect]", f'[redirect]\ninbound = "{request.param}"', 1)
    host.config.write_text(text_)
    return str(request.param)


@pytest.fixture
def proxy(host: Host, ears: Listeners) -> Listeners:
    ears.add(host.space, "0.0.0.0", APP)
    ears.add_proxy(host.space)
    return ears


# bytes ---------------------------------------------------------------------------------------------


def test_cases_a_process_name_that_is_not_utf8(host: Host, proxy: Listeners, inbound: str) -> None:
    with listening(host.space, b"\xff", "0.0.0.0", 5000):
        assert levels(host, ARM) == ON
        assert levels(host, FAILED)[0] == "block"
        assert closed(host)
        assert levels(host, NOW) == ON
        assert done(host, REMOVE)["inbound"] == "released"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["nft", "legacy"])
def test_cases_a_comment_in_latin1(host: Host, proxy: Listeners, inbound: str, backend: str, kind: str) -> None:
    force(host, backend)
    case = (CASES / "latin1-comment.iptables-save").read_bytes()
    restore(host, f"iptables-{kind}-restore", case)
    before = save(host, kind)
    assert levels(host, NOW) == ON
    assert levels(host, FAILED)[0] == "block"
    assert levels(host, RESTORE) == ON
    assert done(host, {**REMOVE, "now": "yes"})["inbound"] == "released"
    assert BAD_WORDS in save(host, kind) and BAD_WORDS in before


BAD_WORDS = next(
    line for line in (CASES / "latin1-comment.iptables-save").read_bytes().splitlines() if b"--comment" in line
)


def restore(host: Host, program: str, rules: bytes) -> None:
    command = host.space.command(program, "--wait", "5", "--noflush")
    subprocess.run(command, input=rules, check=True, capture_output=True, env={**os.environ})


def save(host: Host, kind: str) -> bytes:
    return subprocess.run(
        host.space.command(f"iptables-{kind}-save"), check=True, capture_output=True, env={**os.environ}
    ).stdout


UNSHOWN = (
    b'table inet other {\n chain c {\n  type filter hook input priority 0;\n  iifname "eth\xff" drop\n }\n}\n'
)


def test_cases_an_interface_that_nft_cannot_show(host: Host, proxy: Listeners, inbound: str) -> None:
    """nft ends by a signal, or omits the condition: such rules are not judged, and closing a port still works."""
    assert levels(host, NOW) == ON
    subprocess.run(host.space.command("nft", "-f", "-"), input=UNSHOWN, check=True, env={**os.environ})
    assert levels(host, FAILED)[0] == "block"
    assert levels(host, ARM) == ON


def test_cases_what_others_put_into_our_table_is_mended(host: Host, proxy: Listeners) -> None:
    assert levels(host, NOW) == ON
    rule = b'insert rule inet fairlead inbound iifname "eth\xff" accept\n'
    subprocess.run(host.space.command("nft", "-f", "-"), input=rule, check=True, env={**os.environ})
    assert levels(host, CHECK) == ("partial", "partial")
    assert levels(host, apply(*ON)) == ON
    assert redirected(host, proxy)


def test_cases_a_listing_that_nft_cuts_short(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """As nft 1.0.6 does at a table with `flags dormant`, with exit 0: the firewall is unknown, and nothing else
    fails."""
    short = '{"nftables": [{"table": {"family": "ip", "name": "a", "handle": 1, "flags": \n'
    cut = subprocess.CompletedProcess(["nft"], 0, short, "")
    monkeypatch.setattr(nftables, "run", lambda *_, **__: cut)
    seen = host.space.inside(admission.seen)
    assert isinstance(seen, Refusal) and "incomplete JSON" in seen.detail


def test_cases_text_is_shown_escaped() -> None:
    name = os.fsdecode(b"caf\xe9 \xc3\xa9")
    assert text.shown({name: [name, 1, None]}) == {"caf\\xe9 é": ["caf\\xe9 é", 1, None]}
    assert "→ \udce9".encode("latin-1", text.ESCAPED) == b"\\u2192 \\xe9"


# an error of ours -----------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["failed", "block", "restore"])
def test_an_error_that_is_no_refusal_closes_all_the_same(
    host: Host, ears: Listeners, inbound: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Listeners() as proxy:
        proxy.add_proxy(host.space)
        assert levels(host, NOW) == ON
    ears.add(host.space, "0.0.0.0", APP)

    def broken(*_: object, **__: object) -> frozenset[int]:
        raise RuntimeError("not foreseen")

    monkeypatch.setattr(sshd, "ports", broken)
    monkeypatch.setattr(sshd, "listening", broken)
    acts = {
        "failed": lambda: handlers.failed(host.prefix),
        "block": lambda: handlers.one_way(host.prefix, "inbound", Level.BLOCK),
        "restore": lambda: handlers.restore(host.prefix),
    }
    if verb == "restore":
        host.space.run("nft", "delete", "table", "inet", "fairlead")
    assert host.space.inside(acts[verb])["inbound"] == "block"
    assert closed(host)


# costs ---------------------------------------------------------------------------------------------


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Where each run of nft and iptables leaves its command line, and the beginning of a command line for that."""
    folder = tmp_path / "counted"
    folder.mkdir()
    log = tmp_path / "log"
    log.touch()
    mounts = []
    for name in ("nft", "xtables-nft-multi", "xtables-legacy-multi"):
        real = folder / f"{name}.real"
        shutil.copy(f"/usr/sbin/{name}", real)
        (folder / name).write_text(f'#!/bin/bash\necho "${{0##*/}} $*" >> {log}\nexec -a "$0" {real} "$@"\n')
        (folder / name).chmod(0o755)
        mounts.append(f"mount --bind {folder / name} /usr/sbin/{name}")
    yield log, ("unshare", "--mount", "sh", "-e", "-c", f'{"; ".join(mounts)}; exec "$@"', "sh")


def large(host: Host, count: int = 20_000) -> None:
    """As geo-blocking loads it: in the way of what comes in."""
    ranges = ",".join(f"{11 + i // 65536}.{i // 256 % 256}.{i % 256}.0/25" for i in range(count))
    host.space.run("nft", "-f", "-", input=GEO % ranges)


GEO = """table inet geo {
 set blocked { type ipv4_addr; flags interval; elements = { %s } }
 chain i { type filter hook input priority 0; policy accept; ip saddr @blocked drop; }
}"""


def test_cases_large_sets_are_not_read_where_they_decide_nothing(
    host: Host, proxy: Listeners, inbound: str, counted: tuple[Path, tuple[str, ...]]
) -> None:
    """They are in the way of what comes in; published ports are before that, and what goes out elsewhere."""
    log, around = counted
    large(host)
    docker(host, 8081, "172.18.0.2")
    assert levels(host, NOW, *around) == ON
    ran = log.read_text().splitlines()
    assert not [line for line in ran if "list ruleset" in line and " -t " not in line]
    assert not [line for line in ran if "list set" in line]
    assert len([line for line in ran if "-t list ruleset" in line]) <= 1


@pytest.mark.parametrize("request_", [FAILED, {"verb": "redirect block", "direction": "both"}, RESTORE])
def test_cases_nothing_of_others_is_read_on_the_way_to_block(
    host: Host, ears: Listeners, inbound: str, counted: tuple[Path, tuple[str, ...]], request_: dict[str, str]
) -> None:
    """By the programs that are started: each speaks of our table alone."""
    log, around = counted
    docker(host, 8081, "172.18.0.2")
    with Listeners() as proxy:
        proxy.add_proxy(host.space)
        assert levels(host, NOW) == ON
    ears.add(host.space, "0.0.0.0", APP)
    assert levels(host, request_, *around)[0] == "block"
    assert closed(host)
    ran = log.read_text().splitlines()
    assert ran
    assert {line for line in ran if "fairlead" not in line and "-f -" not in line} == set()
    if inbound == "all":  # what was published is so still
        live = host.space.run("nft", "list", "chain", "inet", "fairlead", "inbound_block")
        assert (
            "ip daddr 10.9.0.2 tcp dport 8081 counter packets 0 bytes 0 return "
            'comment "inbound: ports that containers publish at 10.9.0.2"' in live
        )


def test_what_is_read_is_read_once_a_request(host: Host, tmp_path: Path) -> None:
    read = []
    with request_cache.request(tmp_path):
        assert request_cache.once("a", lambda: read.append(1)) is request_cache.once("a", lambda: read.append(2))
        request_cache.forget()
        request_cache.once("a", lambda: read.append(3))
    assert read == [1, 3]
