"""The identity verbs that work with the agent dead."""

import asyncio
import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from agent import values
from agent.adapters import anchors, files, identity_key, identity_token, spire
from agent.config import Config
from agent.core import anchors as core_anchors
from agent.core import gate, identity
from agent.core.backoff import Backoff
from agent.core.facts import Svid
from agent.core.reasons import Fault, Reason
from agent.ports import Trouble
from agent.privileged import Refusal, policy

OPEN, CONFIG, CLOSED = 0, 64, 69

RETRY = Backoff(first=0.2, factor=2.0, most=5.0)


class Unconfigured(Exception):
    """Root's configuration cannot be used."""


@dataclass(frozen=True)
class Token:
    """Where it is, whom it must speak for, and where key and CSR are made; None: by somebody else."""

    path: Path
    subject: str
    folder: Path | None


@dataclass(frozen=True)
class Gate:
    """What is asked for whom. `places`: None where nothing is known of trust anchors. `record`: where the outcome
    is left for the agent; None: nowhere."""

    socket: str
    spiffe_id: str  # or the name that the token stands for
    hint: str = ""
    places: anchors.Places | None = None
    record: Path | None = None
    token: Token | None = None  # in token mode


def configuration(prefix: str) -> Config:
    """Root's own. Raises Unconfigured."""
    try:
        return policy.configuration(Path(prefix or "/"))
    except Refusal as refusal:
        raise Unconfigured(refusal.detail) from None


def gate_of(prefix: str) -> Gate:
    """The gate that stands before the proxy of this host. Raises Unconfigured."""
    root, config = Path(prefix or "/"), configuration(prefix)
    places = anchors.Places(values.anchors_in_force(config, root), values.anchors_kept(root))
    mine = _is_proxys_user(config)
    by_token = None
    if config.identity.mode == "token":
        folder = values.identity_folder(root) if mine else None
        by_token = Token(values.token_place(root), values.token_subject(config), folder)
    record = root / gate.RECORD if mine else None
    socket, name, hint = config.identity.workload_api, config.workload.identity, config.identity.hint
    return Gate(socket, name, hint, places, record, by_token)


def _is_proxys_user(config: Config) -> bool:
    """Only what the proxy's own user gets is worth a record."""
    try:
        return values.proxy_owner(config)[0] == os.geteuid()
    except KeyError:
        return False


# the gate -------------------------------------------------------------------------------------------


def pass_gate(wanted: Gate, wait: float, *, as_json: bool = False) -> int:
    """Print each reason once, as it comes. Return OPEN once the Workload API has an SVID that the proxy can serve
    with, or CLOSED after `wait` seconds; with 0 after one look."""
    fault = asyncio.run(_watch(wanted, wait, _Crier(wanted, as_json).cry))
    return OPEN if fault is None else CLOSED


class _Crier:
    """Says what has changed, and leaves it for the agent too."""

    def __init__(self, wanted: Gate, as_json: bool) -> None:
        self._wanted, self._json = wanted, as_json
        self._said: Reason | None = None

    def cry(self, fault: Fault | None) -> None:
        if fault is None:
            self._print(ok=True, line=f"usable: {self._wanted.spiffe_id}", identity=self._wanted.spiffe_id)
        elif fault.reason is not self._said:
            self._said = fault.reason
            line = f"{fault.reason}: {fault.detail or fault.entry.text}"
            self._print(ok=False, line=line, reason=fault.reason.value, detail=fault.detail)
        self._record(fault)

    def _print(self, *, ok: bool, line: str, **words: str) -> None:
        print(json.dumps({"ok": ok, **words}) if self._json else line, flush=True)

    def _record(self, fault: Fault | None) -> None:
        path = self._wanted.record
        if path is None or not path.parent.is_dir():
            return
        if fault is None:
            path.unlink(missing_ok=True)
        else:
            files.write_atomically(path, gate.written(fault))


async def _watch(wanted: Gate, wait: float, cry: Callable[[Fault | None], None]) -> Fault | None:
    loop = asyncio.get_running_loop()
    until, attempt = loop.time() + wait, 0
    look = _look if wanted.token is None else _look_for_token
    while True:
        fault = await look(wanted, until, cry)
        rest = until - loop.time()
        if fault is None or rest <= 0:
            return fault
        await asyncio.sleep(min(RETRY.delay(attempt, 1.0), rest))
        attempt += 1


async def _look(wanted: Gate, until: float, cry: Callable[[Fault | None], None]) -> Fault | None:
    """Follow one stream until it gives what is needed, ends, or the time is over; one answer is always heard."""
    fault: Fault | None = Fault(Reason.WORKLOAD_API_SILENT)
    loop = asyncio.get_running_loop()
    try:
        async with aclosing(spire.SpireWorkloadApi(wanted.socket).watch()) as updates:
            patience = None
            while fault is not None:
                async with asyncio.timeout(patience):
                    fault = _judge(wanted, await anext(updates))
                cry(fault)
                patience = max(0.0, until - loop.time())
    except TimeoutError:
        return fault
    except Trouble as trouble:
        fault = trouble.fault
        cry(fault)
    return fault


async def _look_for_token(wanted: Gate, until: float, cry: Callable[[Fault | None], None]) -> Fault | None:
    """Once; with all that is needed, the proxy's key and CSR are made anew, as a pod's are at each start."""
    fault = None
    assert wanted.token is not None
    try:
        text = identity_token.read(wanted.token.path)
        identity_token.checked(text, wanted.token.subject, time.time(), str(wanted.token.path))
        if wanted.places is not None:
            anchors.in_force(wanted.places)
        if wanted.token.folder is not None:
            identity_key.make(wanted.token.folder, wanted.spiffe_id)
    except Trouble as trouble:
        fault = trouble.fault
    cry(fault)
    return fault


def _judge(wanted: Gate, svids: Sequence[Svid]) -> Fault | None:
    """What keeps the proxy from being started with these; None: nothing does."""
    found = identity.usable(svids, wanted.spiffe_id, time.time(), wanted.hint)
    if isinstance(found, Fault):
        return found
    if wanted.places is None:
        return None
    try:
        mine = anchors.in_force(wanted.places)
    except Trouble as trouble:
        return trouble.fault
    svid, _ = found
    covered = anchors.covered_until(mine, svid.chain) is not None
    return None if covered else Fault(Reason.IDENTITY_UNTRUSTED, wanted.spiffe_id)


# trust anchors --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AnchorSet:
    """One set of trust anchors in a file. `fault`: why there is none."""

    path: str
    digest: str = ""
    certificates: tuple[anchors.Described, ...] = ()
    fault: Fault | None = None


def anchor_sets(prefix: str) -> tuple[AnchorSet, AnchorSet | None]:
    """Those in force, and those that await root's word. Raises Unconfigured."""
    root, config = Path(prefix or "/"), configuration(prefix)
    places = anchors.Places(values.anchors_in_force(config, root), values.anchors_kept(root))
    mine = _anchor_set(places)
    if config.identity.anchors_source == "file" or not places.kept.exists():
        return mine, None
    kept = _anchor_set(anchors.Places((places.kept,), places.kept))
    return mine, None if kept.digest == mine.digest else kept


def _anchor_set(places: anchors.Places) -> AnchorSet:
    path = next((path for path in places.in_force if path.exists()), places.in_force[-1])
    try:
        found = anchors.in_force(places)
    except Trouble as trouble:
        return AnchorSet(str(path), fault=trouble.fault)
    return AnchorSet(str(path), core_anchors.digest(found), tuple(anchors.describe(der) for der in found))
