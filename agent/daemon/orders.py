"""Root's orders to a running agent about its proxy, checked before anything begins. Part of the composition
root `agent.daemon.configurations`: it knows the configuration, the installed versions and the loops."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import structlog

from agent.config import Config, derived
from agent.core import releases
from agent.core.facts import UNKNOWN, PhaseKind
from agent.core.reasons import Reason
from agent.core.replacement import Stage
from agent.daemon import log_level
from agent.loops.board import Board
from agent.loops.replacement import ReplacementLoop
from agent.ports import Trouble
from agent.privileged import Refusal
from agent.privileged.proxy import versions


def _why(trouble: Trouble) -> str:
    return f"{trouble.reason}: {trouble.detail or trouble.fault.entry.text}"


_CHOOSE = "list the installed versions: fairlead proxy list; then: fairlead proxy upgrade VERSION"


class Orders:
    """`prefix`: before every path of the host."""

    def __init__(
        self,
        config: Config,
        prefix: str,
        board: Board,
        replacement: ReplacementLoop,
        prove: Callable[[str], Awaitable[None]],
        why_drained: Callable[[], str],
    ) -> None:
        """`prove`: raises Trouble where a start (of that version; "" as it is) would not work. `why_drained`: why
        a replacement drains the host first; "": the second slot serves in the meantime."""
        self._config, self._prefix, self._board, self._replacement = config, prefix, board, replacement
        self._prove, self._why_drained = prove, why_drained

    async def upgrade(self, words: Mapping[str, Any]) -> None:
        """`{"version": V}`: change over to it, and back if it fails. This and the next two take `{"force": true}`:
        despite known faults."""
        version = self._installed(str(words.get("version", "")))
        await self._proved(version, words)
        self._replacement.ask(version, self._current(), self._covered())

    async def rollback(self, words: Mapping[str, Any]) -> None:
        """`{}`: to the version before."""
        previous = versions.linked(Path(self._prefix), versions.PREVIOUS)
        if not previous:
            raise Trouble(Reason.PROXY_BINARY_UNUSABLE, "there is no previous version", remedy=_CHOOSE)
        change = self._board.facts.value.change
        tried = change is not None and change.stage in (Stage.BACK_AGAIN, Stage.RENEWING, Stage.CLEARED)
        if change is not None and tried and change.wanted == previous:
            why = f"{previous} did not become ready when it was tried"
            raise Trouble(Reason.PROXY_BINARY_UNUSABLE, why, remedy=_CHOOSE)
        await self._proved(self._installed(previous), words)
        self._replacement.ask(previous, self._current(), self._covered())

    def _covered(self) -> bool:
        """The second slot serves in the meantime. Where there are to be two, the log says why it cannot."""
        why = self._why_drained()
        if why and self._config.proxy.slots:
            structlog.get_logger().warning("the host is drained before its proxy is replaced", why=why)
        return not why

    async def restart(self, words: Mapping[str, Any]) -> None:
        """`{}`: restart the same binary, drained first."""
        self._must_be_here()
        await self._proved("", words)
        self._replacement.ask("", "", self._covered())

    async def check(self, words: Mapping[str, Any]) -> Mapping[str, Any]:
        """`{"version": V}` or `{}`: the known faults of its start; nothing is changed."""
        version = self._installed(str(words["version"])) if words.get("version") else ""
        try:
            await self._prove(version)
        except Trouble as trouble:
            raise Trouble(trouble.reason, _why(trouble), remedy=trouble.fault.way_out) from trouble
        return {"ok": True}

    async def _proved(self, version: str, words: Mapping[str, Any]) -> None:
        """The running proxy is never stopped for one that cannot work. Raises Trouble."""
        if words.get("force"):
            return
        self._replacement.must_be_over()
        try:
            await self._prove(version)
        except Trouble as trouble:
            remedy = f"{trouble.fault.way_out or 'see the detail'}; to replace it anyway: --force"
            why = f"the next start would fail: {_why(trouble)}; the running proxy is unchanged"
            raise Trouble(trouble.reason, why, remedy=remedy) from trouble

    async def log_level(self, words: Mapping[str, Any]) -> Mapping[str, Any]:
        """`{"filter": F}`: set it in each proxy that runs; `{}`: return that of the one that serves."""
        wanted = str(words.get("filter", ""))
        return {"filter": await log_level.set_or_read(self._board.facts.value, wanted)}

    def _installed(self, version: str) -> str:
        self._must_be_here()
        if self._config.proxy.binary:
            why = f"proxy.binary names the file {self._config.proxy.binary}"
            remedy = "replace that file, then: fairlead proxy restart; or remove proxy.binary"
            raise Trouble(Reason.PROXY_BINARY_UNUSABLE, why, remedy=remedy)
        try:
            versions.must_be_installed(Path(self._prefix), version)
        except Refusal as refusal:
            raise Trouble(Reason.PROXY_BINARY_UNUSABLE, refusal.detail, remedy=_CHOOSE) from None
        if why := releases.refused(version):
            raise Trouble(Reason.PROXY_BINARY_UNUSABLE, f"version {version}: {why}", remedy=_CHOOSE)
        return version

    def _current(self) -> str:
        return versions.linked(Path(self._prefix), versions.CURRENT) or derived.USUAL_VERSION

    def _must_be_here(self) -> None:
        phase = self._board.phase.value
        if phase is UNKNOWN or phase.kind not in (PhaseKind.MEMBER, PhaseKind.DRAINED):
            raise Trouble(Reason.LEFT, "this host is not in the mesh, so its proxy does not run")
