"""The kernel's redirect rules, through the privileged helper; and the kernel's events when they change."""

import asyncio
import errno
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from agent.adapters import netlink
from agent.adapters.helper import SETS_WITHIN, Helper
from agent.core.facts import Level
from agent.core.goals import RedirectGoal
from agent.core.reasons import Fault, Reason
from agent.core.slots import Slot
from agent.ports import LiveRedirect, Trouble


class HelperRedirector:
    """Implements ports.Redirector."""

    def __init__(self, helper: Helper) -> None:
        self._helper = helper
        self._notices: socket.socket | None = None

    def close(self) -> None:
        if self._notices is not None:
            self._notices.close()
            self._notices = None

    async def check(self) -> LiveRedirect:
        return _live(await self._helper.ask("redirect check", Reason.REDIRECT_FAILED))

    async def apply(
        self, inbound: RedirectGoal, outbound: RedirectGoal, judged: float | None = None
    ) -> LiveRedirect:
        words = {"inbound": inbound.value, "outbound": outbound.value}
        if judged is not None:  # the loop's clock is CLOCK_MONOTONIC, as the helper's is
            words["judged"] = f"{judged:.6f}"
        return await self._sets("redirect set", words)

    async def turn(self, slot: Slot) -> LiveRedirect:
        return await self._sets("redirect turn", {"slot": slot.value})

    async def _sets(self, verb: str, words: Mapping[str, str]) -> LiveRedirect:
        return _live(await self._helper.ask_within(SETS_WITHIN, verb, Reason.REDIRECT_FAILED, words))

    async def firewall(self) -> Fault | None:
        return _fault(await self._helper.ask("redirect firewall", Reason.REDIRECT_FAILED))

    async def drifted(self) -> None:
        """The first call opens the watch and returns: before it anything may have happened."""
        if self._notices is None:
            self._notices = await self._helper.watch(Reason.REDIRECT_FAILED)
            self._notices.setblocking(False)
            return
        try:
            await self._heard(self._notices)
            netlink.drain(self._notices)
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # so many changes that some were not told
                self.close()
                raise Trouble(Reason.REDIRECT_FAILED, f"cannot watch the rules: {error.strerror}") from None

    async def _heard(self, notices: socket.socket) -> None:
        """Return on a change to our table at once; rules of others change often, and are reported together."""
        loop = asyncio.get_running_loop()
        heard = await loop.sock_recv(notices, netlink.MOST)
        with suppress(TimeoutError):
            async with asyncio.timeout(_TOGETHER):
                while not concerns_us(heard):
                    heard = await loop.sock_recv(notices, netlink.MOST)


_TOGETHER = 3.0  # seconds
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_FAMILY = 4  # struct nfgenmsg, before the attributes
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
_TABLE = 1  # in each message of nftables but NEWGEN the attribute 1 is the name of the table
_NEW_GENERATION = 15


def concerns_us(datagram: bytes) -> bool:
    """Whether one of its messages is about the table `fairlead`. Rules of others change often."""
    while len(datagram) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(datagram)
        if length < _HEADER.size:
            return True  # not understood: look
        message, datagram = datagram[_HEADER.size + _FAMILY : length], datagram[_aligned(length) :]
        if kind & 0xFF != _NEW_GENERATION and _names_us(message):
            return True
    return False


def _names_us(attributes: bytes) -> bool:
    while len(attributes) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(attributes)
        if kind == _TABLE:
            return attributes[_ATTRIBUTE.size : length].rstrip(b"\0") == b"fairlead"
        attributes = attributes[max(_aligned(length), _ATTRIBUTE.size) :]
    return False


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _fault(answer: Mapping[str, Any]) -> Fault | None:
    """The worst of what the firewall does."""
    if loopback := answer.get("loopback"):
        return Fault(Reason.LOOPBACK_DOWN, str(loopback))
    if untracked := answer.get("untracked"):
        return Fault(Reason.CONNECTIONS_UNTRACKED, str(untracked))
    verdict, detail = answer.get("verdict"), str(answer.get("detail", ""))
    # A ban of one peer must not take the host from the others.
    if verdict == "refused" and not answer.get("partly"):
        return Fault(Reason.FIREWALL_CLOSED, detail, str(answer.get("commands", "")))
    if outbound := answer.get("outbound_refused"):
        return Fault(Reason.FIREWALL_CLOSED, str(outbound))
    if verdict != "accepted":
        return Fault(Reason.FIREWALL_UNCLEAR, detail)
    outbound = answer.get("outbound_partly") or answer.get("outbound_unknown")
    return Fault(Reason.FIREWALL_UNCLEAR, str(outbound)) if outbound else None


def _live(answer: Mapping[str, Any]) -> LiveRedirect:
    """Rules on trial are suspended only after the trial has expired."""
    suspended = "" if "trial" in answer else str(answer.get("suspended", ""))
    try:
        levels = Level(answer["inbound"]), Level(answer["outbound"])
        edited, unreported = (str(answer.get(word, "")) for word in ("edited", "unreported"))
        live = LiveRedirect(*levels, edited=edited, suspended=suspended, unreported=unreported)
        slot = Slot(answer.get("slot", Slot.MAIN.value))
        return replace(live, superseded="superseded" in answer, slot=slot)
    except (KeyError, ValueError):
        raise Trouble(
            Reason.REDIRECT_FAILED, f"the privileged helper's answer names no levels: {dict(answer)}"
        ) from None
