"""Random small rulesets: what the tracer says of a connection never contradicts what happens to it.

`FAIRLEAD_RULESETS=300` judges so many, `FAIRLEAD_RULESETS_FROM=1000` begins with another seed.
"""

import json
import os
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address
from random import Random

import pytest

from agent.core.redirect.admission import Seen, outcome
from agent.core.redirect.walk import Arrival, Outcome, Verdict
from agent.privileged.redirect import admission
from tests.contract.test_redirect_cases import put
from tests.lab import random_rules
from tests.lab.echoes import Dial, answering, reached
from tests.lab.random_rules import Names
from tests.privileged.hosts import APP, FAMILIES, INBOUND, OUTBOUND, Family, Host, Listeners, original, wired_host

COUNT = int(os.environ.get("FAIRLEAD_RULESETS", "25"))
FROM = int(os.environ.get("FAIRLEAD_RULESETS_FROM", "0"))
# One in each part of the peers' network that random rules name; the first is the peer's own already.
SOURCES = {4: ["10.9.0.1", "10.9.0.50", "10.9.0.129", "10.9.0.250"], 6: ["fd09::1", "fd09::50", "fd09::1:1"]}
NEAR = {4: ["10.9.0.2", "127.0.0.1", "127.0.0.0/8", "10.9.0.0/24"], 6: ["fd09::2", "::1", "fd09::/64"]}
FAR = {
    4: ["10.9.0.1", "10.9.0.0/25", "10.9.0.128/25", "10.9.0.128-10.9.0.200", "192.0.2.0/24", "10.42.0.0/24"],
    6: ["fd09::1", "fd09::/112", "fd09::1:0/112", "2001:db8::/32", "fd42::/64", "fd09::1:0-fd09::1:9"],
}
DIALLED = {place for one in FAMILIES for place in ((one.host, APP), (one.host, INBOUND), (one.cluster, 80))}


@dataclass(frozen=True)
class Way:
    """A connection as it is dialled, as the tracer knows it, and the proxy's port that it must reach."""

    source: str
    to: tuple[str, int]
    arrival: Arrival
    port: int


@dataclass(frozen=True)
class World:
    host: Host
    wire: str
    ours: str  # the redirect, for nft

    def load(self, kind: str, version: int, rules: str) -> bool:
        """False: nft or iptables knows no such ruleset."""
        text = f"flush ruleset\n{self.ours}{rules if kind == 'nft' else ''}"
        if not self._run(["nft", "-f", "-"], text):
            self._run(["nft", "-f", "-"], f"flush ruleset\n{self.ours}")
            return False
        program = "iptables-nft-restore" if version == 4 else "ip6tables-nft-restore"
        return kind == "nft" or self._run([program], rules)

    def _run(self, words: list[str], text: str) -> bool:
        command = self.host.space.command(*words)
        return (
            subprocess.run(command, input=text, text=True, capture_output=True, env={**os.environ}).returncode == 0
        )


@pytest.fixture(scope="module")
def world(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with wired_host(tmp_path_factory.mktemp("random") / "host") as host, Listeners() as ears, ExitStack() as stack:
        lines = host.peer.run("ip", "-o", "link").splitlines()
        wire = next(line.split(":")[1].split("@")[0].strip() for line in lines if ": w" in line)
        for version, length in ((4, 24), (6, 64)):
            for one in SOURCES[version][1:]:
                host.peer.ip(f"addr add {one}/{length} dev {wire}{' nodad' if version == 6 else ''}")
        know_neighbours(host, wire)
        ears.add_families(host.space, APP)
        stack.enter_context(answering(ears.sockets, lambda one: original(one) in DIALLED))
        put(host, "nftables")
        yield World(host, wire, host.space.run("nft", "list", "table", "inet", "fairlead"))


def know_neighbours(host: Host, wire: str) -> None:
    """Rules may drop IPv6's neighbour discovery, which is no part of a connection."""
    ends = (host.space, host.peer, SOURCES[6]), (host.peer, host.space, [FAMILIES[1].host])
    for space, other, addresses in ends:
        (link,) = json.loads(other.run("ip", "-j", "link", "show", "dev", wire))
        for address in addresses:
            space.ip(f"neigh replace {address} lladdr {link['address']} dev {wire} nud permanent")


def ways(world: World, family: Family) -> dict[str, Way]:
    found, here = {}, ip_address(family.host)
    for source in SOURCES[family.version]:
        dialled = Arrival(world.wire, ip_address(source), here, APP, translated=False)
        caught = replace(dialled, port=INBOUND, translated=True, before=dialled)
        found[f"{source} to the application"] = Way(source, (family.host, APP), caught, INBOUND)
        direct = replace(dialled, port=INBOUND)
        found[f"{source} to 4143"] = Way(source, (family.host, INBOUND), direct, INBOUND)
    before = Arrival(world.wire, here, ip_address(family.cluster), None, translated=False, hook="output")
    sent = replace(before, destination=ip_address(family.loopback), port=OUTBOUND, translated=True, before=before)
    found["outbound"] = Way("", (family.cluster, 80), sent, OUTBOUND)
    return found


def dialled(world: World, told: dict[str, tuple[Way, Outcome]]) -> dict[str, int | None]:
    def made(way: Way) -> socket.socket:
        found = socket.socket(socket.AF_INET6 if ":" in way.to[0] else socket.AF_INET)
        if way.source:
            found.bind((way.source, 0))
        return found

    dials = {}
    for name, (way, found) in told.items():
        space, uid = (world.host.peer, 0) if way.source else (world.host.space, 1000)
        dials[name] = Dial(space.inside(partial(made, way), uid), way.to, says(found) is True)
    return reached(dials)


def says(found: Outcome) -> bool | None:
    """Whether the connection gets to the proxy; None: it cannot be told."""
    if found.verdict is Verdict.UNKNOWN or found.untracked is None:
        return None
    return found.verdict is Verdict.ACCEPTED and not found.untracked


def test_random_rulesets_are_never_judged_against_what_happens(world: World) -> None:
    wrong, verdicts, seed = [], Counter[bool | None](), FROM
    judged = 0
    while judged < COUNT:
        random, family = Random(seed), FAMILIES[seed // 2 % 4 == 3]
        kind = "iptables" if seed % 2 else "nft"
        version = family.version
        names = Names(version, world.wire, NEAR[version], FAR[version], family.loopback)
        rules = random_rules.nft(random, names) if kind == "nft" else random_rules.iptables(random, names)
        seed += 1
        if not world.load(kind, version, rules):
            continue
        judged += 1
        seen = world.host.space.inside(admission.seen)
        assert isinstance(seen, Seen), seen
        told = {name: (way, outcome(seen, way.arrival)) for name, way in ways(world, family).items()}
        for name, port in dialled(world, told).items():
            way, found = told[name]
            verdicts[says(found)] += 1
            if says(found) not in (None, port == way.port):
                wrong.append(f"seed {seed - 1}, {name}: told {found}, reached {port}\n{rules}")
    print(f"{judged} of {seed - FROM} rulesets: {dict(verdicts)}")
    assert not wrong, "\n".join(wrong)
    assert min(verdicts[True], verdicts[False]) > COUNT
