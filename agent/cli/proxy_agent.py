"""The verbs of `fairlead proxy` that the agent carries out: upgrade, rollback, restart, log-level."""

import argparse
import json
import time

from agent.cli.kit import until
from agent.cli.kit.client import Client
from agent.cli.kit.exits import Exit
from agent.cli.kit.replacement import ENDS, follow_replacement
from agent.cli.kit.until import Status

_GOOD = "no problem found: configuration, binary, ports, identity, trust anchors, names of the control plane"


def arguments(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    for verb, text in (
        ("upgrade", "drain, replace the proxy, verify, serve; roll back if it does not become ready"),
        ("rollback", "the same, to the previous version"),
        ("restart", "the same, with the same version: for new trust anchors and settings"),
    ):
        one = verbs.add_parser(verb, help=text)
        if verb == "upgrade":
            one.add_argument("version", metavar="VERSION")
        one.add_argument("--no-wait", action="store_true", help="do not wait for the end")
        one.add_argument("--json", action="store_true", help="each step as one line of JSON")
        one.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS", help="how long to wait")
        one.add_argument("--force", action="store_true", help="even if the check of the next start fails")
        one.set_defaults(act=_replace, verb=verb)
    check = verbs.add_parser("check", help="check whether the next start would work, without a change")
    check.add_argument("version", nargs="?", default="", metavar="VERSION", help="default: the current one")
    check.add_argument("--json", action="store_true")
    check.set_defaults(act=_check)
    level = verbs.add_parser("log-level", help="show or set the log filter of the running proxy, until it ends")
    level.add_argument("filter", nargs="?", default="", metavar="FILTER", help="as proxy.log; default: show it")
    level.add_argument("--json", action="store_true")
    level.set_defaults(act=_log_level)


def _replace(args: argparse.Namespace) -> int:
    doing = f"{args.verb} the proxy"
    client = until.client(args, doing)
    words: dict[str, str | bool] = {"force": args.force}
    if args.verb == "upgrade":
        words["version"] = args.version.removeprefix("v")
    if "version" in words and _is_current(client.status(), str(words["version"])):
        print(f"linkerd2-proxy {words['version']} is already serving")
        return Exit.OK
    deadline = time.monotonic() + args.timeout
    return follow_replacement(client, client.order(f"proxy-{args.verb}", **words), args, doing, deadline)


def _check(args: argparse.Namespace) -> int:
    """Exit 1 and the first fault if it would not work."""
    words = {"version": args.version.removeprefix("v")} if args.version else {}
    answer = Client(args.prefix, "check the proxy's next start").order("proxy-check", **words)
    print(json.dumps(answer) if args.json else _GOOD)
    return Exit.OK


def _log_level(args: argparse.Namespace) -> int:
    doing = "set the proxy's log filter" if args.filter else "read the proxy's log filter"
    words = {"filter": args.filter} if args.filter else {}
    answer = Client(args.prefix, doing, timeout=10.0).order("proxy-log-level", **words)
    print(json.dumps(answer) if args.json else answer["filter"])
    return Exit.OK


def _is_current(status: Status, version: str) -> bool:
    change = status["facts"]["replacement"]
    over = change != "unknown" and (change is None or change["stage"] in ENDS)
    return over and status["proxy_version"] == version and status["facts"]["proxy"] != "unknown"
