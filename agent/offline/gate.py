"""Whether the proxy may be started: by what its user gets from the Workload API, and by root's configuration.

It judges again at each update of the Workload API, and every second: a file may have been corrected, or a
certificate may have expired.
"""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.adapters import anchors, files, identity_key, identity_token, spire
from agent.config import Config, derived
from agent.core import gate_record
from agent.core.backoff import Backoff
from agent.core.facts import Svid
from agent.core.reasons import Fault, Reason
from agent.host import Host, reading
from agent.offline import svid_check
from agent.offline.identity import Unconfigured, configuration
from agent.ports import Trouble

OPEN, CONFIG, CLOSED = 0, 64, 69

RETRY = Backoff(first=0.2, factor=2.0, most=5.0)
AGAIN = 1.0  # seconds between two judgements of the same answer


@dataclass(frozen=True)
class Token:
    """Its path, its identity, and where key and CSR are made; None: by another process."""

    path: Path
    subject: str
    folder: Path | None


@dataclass(frozen=True)
class Gate:
    """What the gate checks. `places`: None where no trust anchors are known. `record`: where the outcome is
    written for the agent; None: nowhere."""

    socket: str
    spiffe_id: str  # or the name that the token stands for
    hint: str = ""
    places: anchors.Places | None = None
    record: Path | None = None
    token: Token | None = None  # in token mode


def gate_of(prefix: str, *, keep: bool = False) -> Gate:
    """The gate that runs before the proxy of this host. `keep`: it writes its outcome for the agent and makes the
    proxy's key; else nothing is written. Raises Unconfigured."""
    host, config = Host.below(prefix), configuration(prefix)
    places = anchors.Places(derived.anchors_in_force(config, host.prefix), host.anchors_kept)
    keep = keep and _is_proxys_user(config)
    by_token = None
    if config.identity.mode == "token":
        folder = host.proxy_identity if keep else None
        by_token = Token(host.token, derived.token_subject(config), folder)
    record = host.gate if keep else None
    socket, name, hint = config.identity.workload_api, config.workload.identity, config.identity.hint
    return Gate(socket, name, hint, places, record, by_token)


def _is_proxys_user(config: Config) -> bool:
    """Only the result of the proxy's own user is recorded."""
    try:
        return derived.proxy_owner(config)[0] == os.geteuid()
    except KeyError:
        return False


def pass_gate(ask: Callable[[], Gate], wait: float, *, as_json: bool = False) -> int:
    """Print each reason once, as it comes. Return OPEN once the proxy can be started, or CLOSED after `wait`
    seconds; with 0 after one check. `ask`: called again each time, since the configuration may be corrected.
    Raises Unconfigured: it cannot be used at the start."""
    crier = _Crier(as_json)
    fault = asyncio.run(_watch(ask, wait, crier.cry))
    return OPEN if fault is None else CLOSED


async def look(wanted: Gate) -> Fault | None:
    """One judgement, of one answer."""
    async with _followed(wanted) as heard:
        return await _judge(wanted, heard)


class _Crier:
    """Prints what has changed, and records it for the agent."""

    def __init__(self, as_json: bool) -> None:
        self._json = as_json
        self._said: Reason | None = None
        self._recorded: Fault | None = None

    def cry(self, wanted: Gate, fault: Fault | None) -> None:
        self._record(wanted.record, fault)
        if fault is None:
            self._print(ok=True, line=f"usable: {wanted.spiffe_id}", identity=wanted.spiffe_id)
        elif fault.reason is not self._said:
            self._said = fault.reason
            line = f"{fault.reason}: {fault.detail or fault.entry.text}"
            self._print(ok=False, line=line, reason=fault.reason.value, detail=fault.detail)

    def _print(self, *, ok: bool, line: str, **words: str) -> None:
        print(json.dumps({"ok": ok, **words}) if self._json else line, flush=True)

    def _record(self, path: Path | None, fault: Fault | None) -> None:
        if path is None or not path.parent.is_dir():
            return
        if fault is None:
            reading.discard(path)
        elif fault != self._recorded:
            if path.is_dir():  # as nothing of ours is
                reading.discard(path)
            files.write_atomically(path, gate_record.written(fault))
            self._recorded = fault


async def _watch(ask: Callable[[], Gate], wait: float, cry: Callable[[Gate, Fault | None], None]) -> Fault | None:
    loop = asyncio.get_running_loop()
    wanted, until = ask(), loop.time() + wait
    while True:
        async with _followed(wanted) as heard:
            before = wanted
            while wanted.socket == before.socket:
                fault = await _judge(wanted, heard)
                cry(wanted, fault)
                rest = until - loop.time()
                if fault is None or rest <= 0:
                    return fault
                await heard.news(min(AGAIN, rest))
                with contextlib.suppress(Unconfigured):  # the previous one counts until it is valid again
                    wanted = ask()


class _Heard:
    """The newest answer of the Workload API: SVIDs, or why there are none; None: no answer so far."""

    def __init__(self) -> None:
        self.newest: Sequence[Svid] | Fault | None = None
        self._news = asyncio.Event()

    async def follow(self, socket: str) -> None:
        attempt = 0
        while True:
            try:
                async with aclosing(spire.SpireWorkloadApi(socket).watch()) as updates:
                    async for svids in updates:
                        attempt = 0
                        self._set(svids)
            except Trouble as trouble:
                self._set(trouble.fault)
            await asyncio.sleep(RETRY.delay(attempt, 1.0))
            attempt += 1

    def _set(self, newest: Sequence[Svid] | Fault) -> None:
        self.newest = newest
        self._news.set()

    async def news(self, within: float) -> None:
        """Return with the next, or at the timeout."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._news.wait()
        self._news.clear()

    async def first(self) -> Sequence[Svid] | Fault:
        """One answer is always awaited; the Workload API has its own timeout."""
        while self.newest is None:
            await self._news.wait()
        self._news.clear()
        return self.newest


@asynccontextmanager
async def _followed(wanted: Gate) -> AsyncIterator[_Heard]:
    """Without a stream in token mode."""
    heard = _Heard()
    following = None if wanted.token else asyncio.create_task(heard.follow(wanted.socket))
    try:
        yield heard
    finally:
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def _judge(wanted: Gate, heard: _Heard) -> Fault | None:
    """Why the proxy cannot be started; None: it can be."""
    if wanted.token is not None:
        return _judge_token(wanted, wanted.token)
    newest = await heard.first()
    return newest if isinstance(newest, Fault) else _judge_svids(wanted, newest)


def _judge_token(wanted: Gate, token: Token) -> Fault | None:
    """Once nothing is missing, the proxy's key and CSR are made again, as for a pod at each start."""
    try:
        text = identity_token.read(token.path, links=False)
        identity_token.checked(text, token.subject, time.time(), str(token.path))
        if wanted.places is not None:
            anchors.in_force(wanted.places)
        if token.folder is not None:
            identity_key.make(token.folder, wanted.spiffe_id)
    except Trouble as trouble:
        return trouble.fault
    return None


def _judge_svids(wanted: Gate, svids: Sequence[Svid]) -> Fault | None:
    places = wanted.places
    try:
        return svid_check.fault(
            svids,
            svid_check.Wanted(wanted.spiffe_id, wanted.hint),
            None if places is None else lambda: anchors.in_force(places),
            time.time(),
        )
    except Trouble as trouble:
        return trouble.fault
