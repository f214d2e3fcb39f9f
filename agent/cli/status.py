"""fairlead status"""

from __future__ import annotations

import argparse
import json
import time

from agent.cli.kit import formatting, output
from agent.cli.kit.arguments import prefix_argument
from agent.cli.kit.client import Client
from agent.cli.kit.exits import Exit, Failure, complain
from agent.cli.kit.formatting import Look, duration
from agent.cli.kit.outside_view import WAY_IN, from_outside

TYPE_CHECKING = False  # type checkers know this name; that of `typing` takes long to load
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn

DESCRIPTION = """\
Shows the state of this host in the mesh: each condition and its age, the agent's last and next check, and a
remedy for each problem. Root and the members of the group fairlead may read it.
On a terminal the output has colours (unless NO_COLOR is set) and fits the width.
--json shows everything, as docs/status-json.md describes. Without an agent (exit 69), and for other users
(exit 77), it shows what can be seen from outside: phase, units, proxy, listeners, rules, journal.
Exit 0: Ready; 3: not Ready; 69: no agent; 77: not permitted.

  fairlead status                     one screen
  fairlead status -o wide             with versions, phase and goals
  fairlead status --watch             each change, until interrupted
  fairlead status --json | jq .ready"""

RETRY = 1.0  # seconds between two looks for an agent
MARKS = {"True": "✓", "False": "✗", "Unknown": "…"}
INTENDED = "–"
# What an operator asked for, and how it is reverted.
BACK = {"drained": "to serve again: sudo fairlead undrain", "left": "to add it again: sudo fairlead join"}
NAME = 19  # columns of the longest name of a condition
INDENT = 4 + NAME + 1


def arguments(parser: argparse.ArgumentParser) -> None:
    prefix_argument(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="everything, as JSON (with --watch: one line a change)")
    form.add_argument(
        "-o",
        "--output",
        choices=("wide", "json"),
        default="",
        help="wide: versions, phase and goals too; json: as --json",
    )
    parser.add_argument("--watch", action="store_true", help="show every change, until interrupted")


def run(args: argparse.Namespace) -> int:
    args.json = args.json or args.output == "json"
    client = Client(args.prefix, "read the status", to_open=WAY_IN)
    try:
        status = client.status()
    except Failure as failure:
        return from_outside(failure, args.prefix, as_json=args.json)
    _show(status, args)
    if args.watch:
        _watch(client, args, status["version"])
    return Exit.OK if status["ready"]["status"] == "True" else Exit.NOT_READY


def _watch(client: Client, args: argparse.Namespace, version: int | None) -> NoReturn:
    """Show every change, until interrupted. If the agent ends, wait for the next one."""
    while True:
        try:
            status = client.status(after=version)
        except Failure as failure:
            if failure.code is not Exit.UNAVAILABLE:
                raise
            if version is not None:
                complain(failure.message, "waiting for the next agent")
            version = None
            time.sleep(RETRY)
            continue
        version = status["version"]
        _show(status, args)


def _show(status: dict[str, Any], args: argparse.Namespace) -> None:
    if args.json:
        text = json.dumps(status, indent=None if args.watch else 2)
    else:
        look, wide = formatting.of_terminal(time.time()), args.output == "wide"
        text = "\n".join(render(status, look, wide=wide))
        if args.watch:
            output.clear()
    print(text, flush=True)


def render(status: dict[str, Any], look: Look = formatting.PLAIN, *, wide: bool = False) -> Iterator[str]:
    """The status as lines for people."""
    for text, hanging, mark in _lines(status, look.now, wide):
        first, *others = look.wrapped(text, hanging)
        yield first.replace(mark, look.painted(mark, mark), 1) if mark else first
        yield from others


def _lines(status: dict[str, Any], now: float, wide: bool) -> Iterator[tuple[str, int, str]]:
    """Each with its hanging indentation, and the mark that is coloured."""
    yield f"{status['workload']}  {status['headline']}", 2, ""
    mark, said = _member(status, now)
    yield f"  {mark} {said}", 4, mark
    if back := BACK.get(status["phase"]):
        yield f"    → {back}", 6, ""
    yield "", 0, ""
    if wide:
        yield from ((f"    {what:<{NAME}} {said}", INDENT, "") for what, said in _wide(status))
    yield f"    {'published':<{NAME}} {_published(status, now)}", INDENT, ""
    for condition in status["conditions"]:
        mark = _mark(condition)
        detail = _detail(condition, status["facts"]) + _since(condition, status["facts"], now)
        if mark != INTENDED:
            detail += _attempts(status, condition["type"])
        yield f"  {mark} {condition['type']:<{NAME}} {detail}", INDENT, mark
    yield from _beside(status["facts"])
    yield f"    {'API credential':<{NAME}} {credential_line(status['credential'])}", INDENT, ""
    yield from _lease(status)
    for problem in status["problems"]:
        detail = f" ({problem['detail']})" if problem["detail"] else ""
        yield "", 0, ""
        yield f"  {problem['reason']}: {problem['text']}{detail}", 4, ""
        if problem["remedy"]:
            yield f"    → {problem['remedy']}", 6, ""


def _member(status: dict[str, Any], now: float) -> tuple[str, str]:
    """A mark, and whether clients in the mesh reach this host, since when, and why not: by what is published."""
    ready = status["ready"]
    since = _since({"type": "Ready", "status": ready["status"]}, status["facts"], now).removeprefix(",")
    if not ready["status"]:
        return MARKS["Unknown"], "not in the mesh: nothing is published yet"
    if ready["status"] != "True":
        return _mark(ready), f"not in the mesh{since}: {ready['reason'] or 'without a reason'}"
    if status["goals"]["advertise"] == "no":
        return MARKS["Unknown"], f"still in the mesh{since}: Ready=False is not published yet"
    return MARKS["True"], f"in the mesh{since}"


def _wide(status: dict[str, Any]) -> Iterator[tuple[str, str]]:
    versions = (("agent", "agent"), ("proxy", "proxy_version"))
    yield "versions", ", ".join(f"{name} {status[key]}" for name, key in versions if status.get(key))
    if status["facts"].get("standby", "unknown") != "unknown":
        yield "slots", f"new connections go to {_active(status['facts'])[0]}"
    yield "phase", status["phase"]
    yield "goals", ", ".join(f"{name} {said}" for name, said in status["goals"].items() if isinstance(said, str))
    slices = status["facts"]["slices"]
    if slices != "unknown":
        yield (
            "EndpointSlice",
            {True: "lists this host", False: "does not list this host"}.get(
                slices["listed"], "not known whether it lists this host"
            ),
        )


def _published(status: dict[str, Any], now: float) -> str:
    ready = status["ready"]
    if not ready["status"]:
        return f"nothing yet{_attempts(status, 'Ready')}"
    since = _since({"type": "Ready", "status": ready["status"]}, status["facts"], now)
    return f"Ready={ready['status']} ({ready['reason']}){since}{_attempts(status, 'Ready')}"


def _since(condition: dict[str, str], facts: dict[str, Any], now: float) -> str:
    """How long the ExternalWorkload has had this status; empty if its status differs or is absent."""
    workload = facts["workload"]
    if workload == "unknown" or workload["seen"] is None:
        return ""
    for one in workload["seen"]["conditions"]:
        if one["type"].rpartition("/")[2] == condition["type"] and one["status"] == condition["status"]:
            passed = formatting.age(one["last_transition_time"], now)
            return f", for {passed}" if passed else ""
    return ""


def _attempts(status: dict[str, Any], name: str, last: str = "looked", again: str = "look") -> str:
    """The times of the agent's last and next check or attempt; of several probes, the last and the next.
    `last`: "" if the line contains it already."""
    attempts = status.get("attempts", {})  # an older agent has none
    here = [
        attempts[one] for one in attempts if one == name or (name == "ProbesPassing" and one.startswith("probe "))
    ]
    if not here:
        return ""
    if any(one["failed"] for one in here):
        last, again = "tried", "try"
    words = f", {last} {duration(-max(one['last_at'] for one in here))} ago" if last else ""
    due = [one["next_at"] for one in here if one["next_at"] is not None and one["next_at"] > 0]
    return words + (f", next {again} in {duration(min(due))}" if due else "")


def _lease(status: dict[str, Any]) -> Iterator[tuple[str, int, str]]:
    """When the agent last reached the API server."""
    fact = status["facts"]["lease"]
    if fact == "unknown":
        return
    attempts = _attempts(status, "Lease", "", "renewal")
    if fact["renewed_at"] is not None:
        yield f"    {'Lease':<{NAME}} renewed {duration(-fact['renewed_at'])} ago{attempts}", INDENT, ""
    elif attempts:
        yield f"    {'Lease':<{NAME}} not renewed yet{attempts}", INDENT, ""


def _mark(condition: dict[str, str]) -> str:
    """A condition that an operator turned off is not a fault."""
    return INTENDED if condition["reason"] == "Left" else MARKS[condition["status"]]


def _detail(condition: dict[str, str], facts: dict[str, Any]) -> str:
    if condition["status"] != "True":
        return condition["reason"]
    return _DETAILS[condition["type"]](facts)


def _identity(facts: dict[str, Any]) -> str:
    fact = facts["identity"]
    if fact["svid"] is None:
        return "from the proxy's certificate; there is no newer SVID"
    turns = f"next rotation in {duration(fact['rotates_at'])}" if fact["rotates_at"] > 0 else "rotation is due"
    name, left = fact["svid"]["spiffe_id"], duration(fact["expires_at"])
    return f"{name}, {left} left, {turns}{_anchors(facts['anchors'])}"


def _anchors(fact: Any) -> str:
    if fact == "unknown" or fact["expires_at"] is None:
        return ""
    return f", anchors {fact['in_force'][:12]} for {duration(fact['expires_at'])}"


def credential_line(credential: dict[str, Any]) -> str:
    """Its source and how long it is valid; never its value."""
    words = [credential["kind"]]
    words += [f"{name} {credential[name]}" for name in ("audience", "file", "context", "by") if name in credential]
    if "expires_at" in credential:
        words.append(f"{duration(credential['expires_at'])} left")
    elif credential["kind"] == "spiffe":
        words.append("none received yet")
    if credential.get("retry_at", 0.0) > 0:
        words.append(f"next try in {duration(credential['retry_at'])}")
    return ", ".join(words)


def _active(facts: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The slot that the redirect names, and its proxy. An older agent knows no slots."""
    redirect = facts["redirect"]
    slot = "main" if redirect == "unknown" else redirect.get("slot", "main")
    return slot, facts["proxy" if slot == "main" else "standby"]


def _beside(facts: dict[str, Any]) -> Iterator[tuple[str, int, str]]:
    """The proxy of the other slot while it runs. One that ends carries what is left until proxy.grace."""
    other = "standby" if _active(facts)[0] == "main" else "main"
    fact = facts.get("standby" if other == "standby" else "proxy", "unknown")
    if fact == "unknown" or fact["process"] is None:
        return
    flying = "?" if fact["in_flight"] is None else fact["in_flight"]
    left = f", {_count(flying, 'connection')} left" if fact["state"] == "stopping" else ""
    name = "standby" if other == "standby" else "main proxy"
    yield f"    {name:<{NAME}} pid {fact['process']['pid']}, {fact['state']}{left}", INDENT, ""


def _proxy(facts: dict[str, Any]) -> str:
    slot, fact = _active(facts)
    beside = "" if slot == "main" else ", in the second slot"
    taken = ", taken over from an earlier agent" if fact["adopted"] else ""
    flying = "?" if fact["in_flight"] is None else fact["in_flight"]
    counts = f"{_count(flying, 'connection')} in flight, {_count(fact['restarts'], 'restart')}"
    return f"pid {fact['process']['pid']}{taken}{beside}, {counts}"


def _control_plane(facts: dict[str, Any]) -> str:
    control = _active(facts)[1]["control"]
    return "the policy controller has answered this proxy" + (", but not lately" if control["lost"] else "")


def _count(number: int | str, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _redirect(facts: dict[str, Any]) -> str:
    return f"inbound {facts['redirect']['inbound']}, outbound {facts['redirect']['outbound']}"


def _addresses(facts: dict[str, Any]) -> str:
    fact = facts["addresses"]
    absent = "unknown" if fact == "unknown" else fact["absent"]
    if absent in ("unknown", []):
        return "on this host" if absent == [] else "translated before they arrive"
    return f"translated before they arrive: {', '.join(absent)}"


def _probes(facts: dict[str, Any]) -> str:
    probes = facts["probes"]["probes"]
    return ", ".join(f"{p['name']}: {p['detail']}" for p in probes) or "none configured"


def _workload(facts: dict[str, Any]) -> str:
    fact = facts["workload"]
    writes = _count(fact["writes"], "status write")
    return f"resourceVersion {fact['seen']['resource_version']}, {writes} by this agent"


_DETAILS = {
    "IdentityValid": _identity,
    "ProxyReady": _proxy,
    "ControlPlaneReached": _control_plane,
    "RedirectActive": _redirect,
    "AddressesPresent": _addresses,
    "ProbesPassing": _probes,
    "WorkloadMatches": _workload,
}
