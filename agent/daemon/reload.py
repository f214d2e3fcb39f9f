"""Reloads the configuration, by SIGHUP or `fairlead reload`. Part of the composition root
`agent.daemon.configurations`.

A restart of the agent changes nothing else, so a reload is a restart without a new process: the whole file is
checked, and only a valid one replaces the configuration. An invalid one is refused, and everything stays as it
was.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from agent import config as configuration
from agent.config import Config, Problem, derived
from agent.config.changes import Takes, changed, takes
from agent.core import proxy, restart_pending
from agent.core.facts import UNKNOWN, ProxyState
from agent.core.reasons import Fault, Reason
from agent.daemon import log_level
from agent.host import Host, reading
from agent.loops.board import Board, Waiter
from agent.ports import Trouble

Restart = Callable[[Mapping[str, Any]], Any]


class Reload:
    """`begin_again`: called with the new configuration. `restart`: the order that restarts the proxy.
    `publish`: why the file was refused, or None. `count`: how often this process has read it."""

    def __init__(
        self,
        present: Config,
        prefix: str,
        board: Board,
        begin_again: Callable[[Config], None],
        restart: Restart,
        publish: Callable[[Fault | None], None],
        count: int,
    ) -> None:
        self._present, self._prefix, self._board, self._count = present, prefix, board, count
        self._begin_again, self._restart, self._publish = begin_again, restart, publish
        self._path = Host.below(prefix).configuration
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """By a signal: there is no client to answer, so the log and the status report the result."""
        self._asked.set()

    async def run(self) -> None:
        self._publish(None)  # this configuration is in force
        approval = asyncio.create_task(self._approval())
        try:
            while True:
                await self._asked.wait()
                self._asked.clear()
                await self.order({})
        finally:
            approval.cancel()

    async def _approval(self) -> None:
        """Once root has approved an edited redirect, the goals follow from it."""
        news, edited = Waiter(self._board.facts), False
        while True:
            await news.wait()
            fact = self._board.facts.value.redirect
            if edited and fact is not UNKNOWN and fact.edited is None and fact.fault is None:
                self._begin_again(self._present)
                return
            edited = edited or (fact is not UNKNOWN and fact.edited is not None)

    async def order(self, words: Mapping[str, Any]) -> Mapping[str, Any]:
        """`{"restart_proxy": true, "force": false}` or `{}`. Raises Trouble: the proxy cannot be restarted now, or
        the next one would not work; the file is not taken then. The answer: `problems` of a file that is refused;
        `changed`, the keys that were; `proxy` and `redirect`, those that wait; `restarting`; `count`."""
        config, problems = self._read()
        keys = () if config is None else changed(self._present, config)
        problems += [_another(key) for key in keys if Takes.JOIN in takes(key)]
        self._say(problems, keys)
        if config is None or problems:
            return self._answer(problems=[vars(problem) for problem in problems])
        waits = [key for key in keys if Takes.PROXY in takes(key)]
        waits += await self._log_filter(config.proxy.log, keys)
        restarting = bool(words.get("restart_proxy")) and bool(waits or self._restart_is_pending())
        if restarting:
            await self._restart({"force": bool(words.get("force"))})
        if keys:
            self._begin_again(config)
        redirect = [key for key in keys if Takes.REDIRECT in takes(key)]
        redirect = derived.unapproved(config, Host.below(self._prefix).prefix, redirect)
        return self._answer(changed=list(keys), proxy=waits, redirect=redirect, restarting=restarting)

    def _answer(self, **fields: Any) -> Mapping[str, Any]:
        file = str(self._path)
        empty = {"file": file, "problems": [], "changed": [], "proxy": [], "redirect": [], "restarting": False}
        return {**empty, **fields, "count": self._count}

    def _read(self) -> tuple[Config | None, list[Problem]]:
        try:
            config = configuration.parse(reading.read(self._path, reading.DOCUMENT, links=True).decode())
            proxy.environment(derived.proxy_settings(config, self._prefix), "")
        except configuration.ConfigError as error:
            return None, list(error.problems)
        except proxy.Refused as refused:
            return None, [Problem("proxy", str(refused), "correct it")]
        except (OSError, UnicodeDecodeError) as error:
            return None, [Problem("", f"cannot read it: {_cause(error)}", "see that the agent's user may read it")]
        return config, []

    def _say(self, problems: Sequence[Problem], keys: Sequence[str]) -> None:
        log = structlog.get_logger()
        fault = None
        if problems:
            text = f"{self._path}: " + "; ".join(_told(each) for each in problems)
            fault = Fault(Reason.CONFIGURATION_REFUSED, text)
            log.error("the edited configuration is refused", reason=fault.reason.value, detail=text)
        else:
            log.info("the configuration was reloaded", changed=", ".join(keys) or "nothing")
        self._publish(fault)

    async def _log_filter(self, wanted: str, keys: Sequence[str]) -> list[str]:
        """The key, where the running proxy did not take the change."""
        fact = self._board.facts.value.proxy
        if "proxy.log" not in keys or fact is UNKNOWN or fact.state is ProxyState.STOPPED:
            return []
        try:
            await log_level.set_or_read(self._board.facts.value, wanted)
        except Trouble:
            return ["proxy.log"]
        return []

    def _restart_is_pending(self) -> bool:
        return any(restart_pending.remarks(self._board.facts.value))


def _told(problem: Problem) -> str:
    return f"{problem.key}: {problem.cause}" if problem.key else problem.cause


def _cause(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8 text"


def _another(key: str) -> Problem:
    return Problem(key, "cannot change while the host is a member", f"it takes {Takes.JOIN.value}")
