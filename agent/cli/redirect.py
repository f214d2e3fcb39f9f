"""fairlead redirect apply|confirm|revert|remove|show|trace|adopt-guide"""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from agent.cli.kit import redirects, rules
from agent.cli.kit.arguments import prefix_argument
from agent.cli.kit.exits import Exit
from agent.core import text
from agent.core.addresses import address as parsed
from agent.core.facts import Level

if TYPE_CHECKING:
    from agent.core.redirect.trace import Packet
    from agent.offline.redirect import Redirect

DESCRIPTION = """\
Manages the traffic redirect manually; root only. The agent sets the rules automatically, except for:
  apply     set the configured rules at the current level; ends a suspension
            with --confirm 60s they are reverted after that time, even if the agent or the network has failed
  confirm   keep what `apply --confirm` set          revert    revert it now
  remove    remove every rule; without --now, open streams through the proxy can finish first
  show      the live rules, with packet counters     trace     which rule decides about a connection, and why
  adopt-guide   the same as apply, and removes the chains that were created from Linkerd's guide

  sudo fairlead redirect apply --confirm 60s             set the rules, on trial
  sudo fairlead redirect confirm                         keep them
  sudo fairlead redirect trace --in tcp 192.0.2.10:5432  which rule takes this connection"""

_NO_TRIAL = "these rules were live before, so none is on trial and there is nothing to confirm"


def arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(metavar="|".join(_HELPS), required=True)

    def add(name: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=_HELPS[name], description=_HELPS[name])
        prefix_argument(made)
        made.add_argument("--json", action="store_true", help="as JSON")
        made.set_defaults(act=run)
        return made

    apply = add("apply", _apply)
    apply.add_argument(
        "--confirm", type=_seconds, metavar="60s", help="revert after this time (5s to 1h) unless confirmed"
    )
    apply.add_argument(
        "--force", action="store_true", help="include ports whose server speaks first and that are not opaque"
    )
    add("confirm", lambda args: _plain(args, "confirm"))
    add("revert", lambda args: _plain(args, "revert"))
    add("remove", _remove).add_argument("--now", action="store_true", help="do not wait for open streams")
    add("show", _show)
    add("adopt-guide", _adopt)
    trace = add("trace", _trace)
    way = trace.add_mutually_exclusive_group(required=True)
    way.add_argument("--in", dest="way", action="store_const", const="in", help="a connection to this host")
    way.add_argument("--out", dest="way", action="store_const", const="out", help="a connection from this host")
    trace.add_argument("protocol", choices=["tcp"])
    trace.add_argument("to", type=_endpoint, metavar="ADDRESS:PORT")
    trace.add_argument("--uid", type=int, help="of the user that opens it")
    trace.add_argument("--from", dest="source", type=parsed, metavar="ADDRESS", help="its source")


_HELPS = {
    "apply": "set the configured rules at the current level",
    "confirm": "keep what `apply --confirm` set",
    "revert": "revert what `apply --confirm` set",
    "remove": "remove every rule",
    "show": "show the live rules, with packet counters",
    "adopt-guide": "replace the chains that were created from Linkerd's guide",
    "trace": "show which rule decides about a connection, and why",
}


def run(args: argparse.Namespace) -> int:
    code: int = args.act(args)
    return code


# the verbs -----------------------------------------------------------------------------------------


def _apply(args: argparse.Namespace) -> int:
    words = redirects.session() | ({"force": "yes"} if args.force else {})
    answer = redirects.ask(args, "apply the redirect", "redirect apply", confirm=args.confirm or "none", **words)
    _say(args, answer, f"set: {_levels(answer)}")
    if "tested" in answer and not args.json:
        print(f"tested {answer['tested']}")
    if args.confirm and not args.json:
        trial = answer.get("trial")
        print(f"for {trial} s; keep it with: fairlead redirect confirm" if trial else _NO_TRIAL)
    return _warn_of_firewall(args) if answer["inbound"] == Level.ON.value else Exit.OK


def _warn_of_firewall(args: argparse.Namespace) -> int:
    """The redirect is set. If peers or outbound connections cannot reach the proxy, the verb still fails."""
    answer = redirects.ask(args, "ask the host's firewall", "redirect firewall")
    refuses, untracked = answer["verdict"] == "refused", answer.get("untracked")
    closed = refuses and not answer.get("partly")
    refused, unclear = answer.get("outbound_refused"), answer.get("outbound_unknown")
    if untracked:
        print(f"warning: {untracked}", file=sys.stderr)
    if answer["verdict"] != "accepted":
        words = (
            "blocks peers"
            if closed
            else "blocks some peers"
            if refuses
            else "it is unknown whether it accepts peers"
        )
        print(f"warning: the host's firewall: {words}: {answer['detail']}", file=sys.stderr)
    for line in str(answer.get("commands", "")).split("; ") if closed else ():
        print(f"  → {line}", file=sys.stderr)
    if refused:
        print(f"warning: the host's firewall: blocks outbound connections: {refused}", file=sys.stderr)
    if partly := answer.get("outbound_partly"):
        print(f"warning: the host's firewall: blocks some outbound connections: {partly}", file=sys.stderr)
    if unclear:
        words = "it is unknown whether it accepts outbound connections"
        print(f"warning: the host's firewall: {words}: {unclear}", file=sys.stderr)
    return Exit.FAILED if closed or untracked or refused else Exit.OK


def _plain(args: argparse.Namespace, verb: str) -> int:
    answer = redirects.ask(args, f"{verb} the redirect", f"redirect {verb}")
    _say(args, answer, f"{'kept' if verb == 'confirm' else 'reverted'}: {_levels(answer)}")
    return Exit.OK


_GUARDED = "; while the proxy runs, the rules stay that keep it from undeclared ports of this host"


def _remove(args: argparse.Namespace) -> int:
    """Ask again while streams are open: there is no event for the end of the last one."""
    words = {"now": "yes"} if args.now else {}
    streams = None
    while True:
        answer = redirects.ask(args, "remove the redirect", "redirect remove", **words)
        if not answer.get("streams"):
            _say(args, answer, "removed" + (_GUARDED if answer.get("guards") else ""))
            return Exit.OK
        if streams != answer["streams"] and not args.json:
            print(f"new connections are not redirected; waiting for {answer['streams']} open streams", flush=True)
        streams = answer["streams"]
        time.sleep(1)


def _adopt(args: argparse.Namespace) -> int:
    answer = redirects.ask(args, "adopt the guide's chains", "redirect adopt-guide", **redirects.session())
    gone = "; ".join(answer["adopted"]) or "none"
    _say(args, answer, f"set: {_levels(answer)}; removed: {gone}")
    return Exit.OK


def _show(args: argparse.Namespace) -> int:
    redirect = redirects.view(args.prefix, "show the redirect")
    if redirect.unread:
        raise redirects.failed("show the redirect", redirect.unread)
    counters = redirects.ask(args, "show the redirect", "redirect counters")["rules"]
    if args.json:
        shown = {
            **redirects.live_json(redirect),
            "edited": redirect.edited.detail if redirect.edited else "",
            "counters": counters,
        }
        print(json.dumps(text.shown(shown), indent=2))
        return Exit.OK
    print(f"inbound {redirect.inbound.value}, outbound {redirect.outbound.value}")
    if redirect.live.trial is not None and redirect.live.on_trial:
        print(f"on trial: {redirect.live.trial.left} s left; keep it with: fairlead redirect confirm")
    elif redirect.suspended:
        print(f"suspended: {redirect.suspended}\n  → fairlead redirect apply")
    print("\n".join(rules.lines(redirect.live.rules)))
    for one in counters:
        if one["packets"] is not None:
            print(f"{one['packets']:>10} packets {one['bytes']:>12} bytes  {one['name']}")
    for line in redirects.edited(redirect):
        print(line)
    return Exit.OK


def _trace(args: argparse.Namespace) -> int:
    from agent.core.redirect.trace import explain, trace

    redirect = redirects.view(args.prefix, "trace a connection")
    asked, which = (redirect.planned, "planned") if redirect.unread else (redirect.live.rules, "live")
    packet = _packet(args, redirect)
    action, rule = trace(asked, packet)
    text = f"tcp {args.way} to {packet.destination} port {packet.port} {explain(asked, packet)}"
    answer = {"action": action.value, "rule": rule.name if rule else None, "text": text, "rules": which}
    _say(args, answer, f"{text}\n(by the planned rules: {redirect.unread.detail})" if redirect.unread else text)
    return Exit.OK


def _packet(args: argparse.Namespace, redirect: "Redirect") -> "Packet":
    """Between addresses of this host a connection goes over loopback."""
    from agent.core.redirect.trace import Packet

    address, port = args.to
    far = args.source if args.way == "in" else address
    local = far is not None and (far.is_loopback or far in redirect.spec.addresses)
    hook = "prerouting" if args.way == "in" else "output"
    return Packet(hook, "lo" if local else "(any)", address, port, uid=args.uid, source=args.source)


# common --------------------------------------------------------------------------------------------


def _say(args: argparse.Namespace, answer: Mapping[str, Any], text: str) -> None:
    print(json.dumps(dict(answer)) if args.json else text)


def _levels(answer: Mapping[str, Any]) -> str:
    return f"inbound {Level(answer['inbound']).value}, outbound {Level(answer['outbound']).value}"


def _seconds(text: str) -> str:
    """60, 60s, 5m or 1h → seconds, the form that the privileged helper takes."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})([smh]?)", text)
    seconds = int(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]] if match else 0
    if not 5 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration from 5s to 1h")
    return str(seconds)


def _endpoint(text: str) -> tuple[Any, int]:
    address, _, port = text.rpartition(":")
    try:
        endpoint = parsed(address.removeprefix("[").removesuffix("]")), int(port)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not ADDRESS:PORT, as 10.0.0.1:80 or [fd00::1]:80") from None
    if not 1 <= endpoint[1] <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is not a port")
    return endpoint
