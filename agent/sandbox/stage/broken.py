"""The scenarios `broken-1` to `broken-10`: a Ready host, of which one thing is broken. `fairlead doctor` names the
cause before anything else, and what it proposes cures it.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.sandbox.identity.ca import Authority
from agent.sandbox.identity.workload_api import Entry
from agent.sandbox.proxy import controllers
from agent.sandbox.stage import network
from agent.sandbox.stage.scene import (
    AGENT_UID,
    API_IDENTITY,
    ENTRIES_OF_AGENT,
    ENTRIES_OF_PROXY,
    IDENTITY,
    PORT,
    PROXY_UID,
    TRUST_DOMAIN,
    Options,
    Scene,
    end,
)
from agent.sandbox.stage.tour import Step, is_ready, must, until

PATIENT: Final = "30"  # seconds for each check: a busy machine starts a program late
Act = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True)
class Broken:
    """`what`: is broken. `check`: that names it, with `says` in its why and `fix` in its fix. `cure`: what that
    fix means here."""

    what: str
    check: str
    says: str
    fix: str
    break_it: Act
    cure: Act


# 1 to 4: names and identity ------------------------------------------------------------------------


def _edit(scene: Scene, old: str, new: str) -> None:
    path = scene.prefix / "etc/fairlead/fairlead.toml"
    text = path.read_text()
    assert old in text, old
    path.write_text(text.replace(old, new))


_POLICY = f'policy = "{network.CLUSTER}:{controllers.POLICY_PORT}"'
_NAMED = f'policy = "linkerd-policy.linkerd.svc.cluster.invalid.:{controllers.POLICY_PORT}"'


async def _misname(scene: Scene) -> None:
    _edit(scene, _POLICY, _NAMED)


async def _name(scene: Scene) -> None:
    _edit(scene, _NAMED, _POLICY)


async def _other_id(scene: Scene) -> None:
    other = Entry(f"spiffe://{TRUST_DOMAIN}/db-9")
    scene.workload_api.register(AGENT_UID, other, Entry(API_IDENTITY))
    scene.workload_api.register(PROXY_UID, other)


async def _own_id(scene: Scene) -> None:
    scene.workload_api.register(AGENT_UID, *ENTRIES_OF_AGENT)
    scene.workload_api.register(PROXY_UID, *ENTRIES_OF_PROXY)


async def _other_anchors(scene: Scene) -> None:
    (scene.prefix / "etc/fairlead/anchors.pem").write_text(Authority(TRUST_DOMAIN).pem)


async def _own_anchors(scene: Scene) -> None:
    (scene.prefix / "etc/fairlead/anchors.pem").write_text(scene.ca.pem)


async def _agents_entry_alone(scene: Scene) -> None:
    scene.workload_api.register(PROXY_UID)


# 5 to 7: the network -------------------------------------------------------------------------------


async def _on_loopback(scene: Scene) -> None:
    await scene.stop_app()
    scene.app = await scene.on_host(sys.executable, "-m", "agent.sandbox.stage.app", f"127.0.0.1:{PORT}")
    async with asyncio.timeout(60):  # the doctor looks at what listens now
        while f"127.0.0.1:{PORT}" not in await scene.read_on_host("ss", "-ltnH"):  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.1)


async def _on_the_address(scene: Scene) -> None:
    await end(scene.app)
    await scene.start_app()


_REFUSES = "add table inet site; add chain inet site input { type filter hook input priority 0; policy accept; }; "
_REFUSES += "add rule inet site input tcp dport 4143 drop"


async def _refuse_the_proxy(scene: Scene) -> None:
    await _on_host(scene, "nft", _REFUSES)


async def _as_the_fix_says(scene: Scene) -> None:
    """The very command."""
    for command in (await doctor(scene))["firewall"]["fix"].split("; "):
        await _on_host(scene, *command.split())


_CONTROLLERS = f"{{ {controllers.POLICY_PORT}, {controllers.DESTINATION_PORT} }}"
_BLACK_HOLE = (
    "add table inet hole; add chain inet hole input { type filter hook input priority -300; }; "
    f"add rule inet hole input tcp dport {_CONTROLLERS} meta length > 1000 drop"
)


async def _black_hole(scene: Scene) -> None:
    _nft(_BLACK_HOLE)


async def _no_black_hole(scene: Scene) -> None:
    _nft("delete table inet hole")


# 8 to 10: rights, clock, a guide's leftovers -------------------------------------------------------


async def _no_status(scene: Scene) -> None:
    scene.api.allow = lambda ask: ask.resource != "externalworkloads/status" or ask.user != API_IDENTITY


async def _every_right(scene: Scene) -> None:
    scene.api.allow = lambda ask: True


async def _guide(scene: Scene) -> None:
    for words in (
        "-N PROXY_INIT_REDIRECT",
        "-A PROXY_INIT_REDIRECT -p tcp --dport 9999 -j REDIRECT --to-port 4143",
        "-A PREROUTING -j PROXY_INIT_REDIRECT",
    ):
        await _on_host(scene, "iptables", "-t", "nat", *words.split())


async def _adopt(scene: Scene) -> None:
    """The very command."""
    fairlead = (sys.executable, "-m", "agent", "redirect", "adopt-guide")
    await _on_host(scene, *fairlead, "--prefix", str(scene.prefix))


async def _nothing(scene: Scene) -> None:
    """The clock of one run of the doctor is what is broken: there is nothing to undo."""


SLOW_CLOCK: Final = "broken-9"
BROKEN: Final[Mapping[str, Broken]] = {
    "broken-1": Broken(
        "the name of the policy controller has no address",
        "control-plane-names",
        "linkerd-policy.linkerd.svc.cluster.invalid",
        "",
        _misname,
        _name,
    ),
    "broken-2": Broken(
        "the SVID has another SPIFFE ID", "agent-identity", "db-9", f"-spiffeID {IDENTITY}", _other_id, _own_id
    ),
    "broken-3": Broken(
        "the trust anchors do not cover the SVID",
        "trust",
        "IdentityUntrusted",
        "identity.trust_anchors",
        _other_anchors,
        _own_anchors,
    ),
    "broken-4": Broken(
        "there is a registration entry for the agent, and none for the proxy",
        "proxy-identity",
        f"uid {PROXY_UID}",
        f"-selector unix:uid:{PROXY_UID}",
        _agents_entry_alone,
        _own_id,
    ),
    "broken-5": Broken(
        "the application listens on loopback alone",
        "application",
        "listens on 127.0.0.1 alone",
        f"listen on {network.HOST}",
        _on_loopback,
        _on_the_address,
    ),
    "broken-6": Broken(
        "INPUT refuses the proxy's port 4143",
        "firewall",
        "keeps peers from port 4143",
        "nft insert rule",
        _refuse_the_proxy,
        _as_the_fix_says,
    ),
    "broken-7": Broken(
        "packets of full size to the control plane are lost",
        "path-mtu",
        "does not answer a TLS hello of",
        "MTU",
        _black_hole,
        _no_black_hole,
    ),
    "broken-8": Broken(
        "the host may not write its status",
        "api-rights",
        "patch of externalworkloads/status",
        "config/cluster/host.yaml",
        _no_status,
        _every_right,
    ),
    SLOW_CLOCK: Broken(
        "the host's clock is 10 minutes behind", "clock", "s behind", "timedatectl", _nothing, _nothing
    ),
    "broken-10": Broken(
        "chains of Linkerd's guide are left",
        "guide-rules",
        "PROXY_INIT_REDIRECT",
        "fairlead redirect adopt-guide",
        _guide,
        _adopt,
    ),
}


# the steps -----------------------------------------------------------------------------------------


@dataclass
class Scenario:
    name: str
    scene: Scene

    @property
    def broken(self) -> Broken:
        return BROKEN[self.name]

    def steps(self) -> list[Step]:
        return [
            Step("a healthy host", "it joins, and fairlead doctor finds nothing wrong", self._healthy),
            Step("broken", self.broken.what, self._broken, "fairlead doctor"),
            Step("cured", f"the fix is applied: {self.broken.fix or 'the name is corrected'}", self._cured),
        ]

    async def _healthy(self, scene: Scene) -> str:
        await scene.start_app()
        await scene.start_agent()
        await until(scene, is_ready, "Ready=True")
        checks = await doctor(scene)
        must(not failed(checks), f"it finds {failed(checks)}")
        results = Counter(one["result"] for one in checks.values())
        return ", ".join(f"{count} {result}" for result, count in results.items())

    async def _broken(self, scene: Scene) -> str:
        await self.broken.break_it(scene)
        checks = await doctor(scene, late=self.name == SLOW_CLOCK)
        found = failed(checks)
        must(bool(found) and found[0]["name"] == self.broken.check, f"it names {found}")
        must(self.broken.says in found[0]["why"], f"it says {found[0]['why']!r}")
        must(self.broken.fix in found[0]["fix"], f"its fix is {found[0]['fix']!r}")
        return f"{found[0]['name']}: {found[0]['why']} → {found[0]['fix']}"

    async def _cured(self, scene: Scene) -> str:
        await self.broken.cure(scene)
        for last in (False, False, True):  # the agent may not have seen it yet
            await until(scene, is_ready, "Ready=True")
            found = failed(await doctor(scene))
            must(not (found and last), f"it finds {found}")
            if not found:
                break
        return "no check fails, and the host is Ready"


async def doctor(scene: Scene, *, late: bool = False) -> dict[str, Any]:
    """What it finds, by the names of the checks, in their order. `late`: its clock is 10 minutes behind."""
    program = "agent.sandbox.stage.late" if late else "agent"
    words = ("doctor", "--prefix", str(scene.prefix), "--json", "--timeout", PATIENT)
    _, output = await scene.run_on_host(sys.executable, "-m", program, *words)
    try:
        return {one["name"]: one for one in json.loads(output)["checks"]}
    except ValueError:
        must(False, f"it prints {output}")
        raise


def failed(checks: Mapping[str, Any]) -> list[Any]:
    return [one for one in checks.values() if one["result"] == "fail"]


async def _on_host(scene: Scene, *command: str) -> None:
    code, output = await scene.run_on_host(*command)
    must(code == 0, f"`{' '.join(command)}` ended with exit {code}: {output}")


def _nft(rules: str) -> None:
    """In the cluster's namespace."""
    subprocess.run(["nft", rules], check=True, env={**os.environ})


@contextlib.asynccontextmanager
async def standing(base: Path, name: str, log: int | None) -> AsyncIterator[Scenario]:
    async with Scene(base, Options(log=log)).standing() as scene:
        yield Scenario(name, scene)
