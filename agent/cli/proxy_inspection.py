"""fairlead proxy env, fairlead proxy logs"""

import argparse
import json
from typing import Any

from agent.cli.kit.exits import Exit, Failure, must_be_root

_SLOT: Any = {"choices": ("main", "standby"), "default": "main", "help": "whose; default: main"}


def arguments(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    env = verbs.add_parser("env", help="show the environment of the proxy's next start, secrets masked")
    env.add_argument("--diff", action="store_true", help="compare with the running proxy; exit 1 if they differ")
    env.add_argument(
        "--slot", choices=("main", "standby"), default="main", help="of the second proxy; default: main"
    )
    env.add_argument("--json", action="store_true")
    env.set_defaults(act=_env)
    logs = verbs.add_parser("logs", help="show the last lines of the proxy's unit")
    logs.add_argument(
        "--slot", choices=("main", "standby"), default="main", help="of the second proxy; default: main"
    )
    logs.add_argument("--json", action="store_true")
    logs.set_defaults(act=_logs)


def _env(args: argparse.Namespace) -> int:
    from agent.core import proxy
    from agent.core.slots import Slot
    from agent.offline import environment

    try:
        planned = environment.planned(args.prefix, Slot(args.slot))
        running = environment.running(Slot(args.slot)) if args.diff else {}
    except environment.Unavailable as error:
        raise Failure(Exit.UNAVAILABLE, f"cannot read the proxy's environment: {error}") from None
    if not args.diff:
        _print(args.json, dict(proxy.masked(planned)), "{0}={1}")
        return Exit.OK
    differing = environment.differences(running, planned)
    now, then = proxy.masked(running), proxy.masked(planned)
    for name in differing:
        values = {"running": now.get(name), "next": then.get(name)}
        print(
            json.dumps({"name": name, **values})
            if args.json
            else f"{name}: {values['running']} → {values['next']}"
        )
    if differing and not args.json:
        print("to apply these values: fairlead proxy restart")
    return Exit.FAILED if differing else Exit.OK


def _print(as_json: bool, values: dict[str, str], line: str) -> None:
    print(json.dumps(values, indent=2) if as_json else "\n".join(line.format(*item) for item in values.items()))


def _logs(args: argparse.Namespace) -> int:
    from agent.offline import helper

    must_be_root("show the proxy's log")
    try:
        lines = helper.ask(args.prefix, "proxy logs", slot=args.slot)["lines"]
    except helper.Refused as refused:
        remedy = "look at it with: journalctl -u fairlead-proxy"
        raise Failure(Exit.UNAVAILABLE, f"cannot show the proxy's log: {refused}", remedy) from None
    print(json.dumps(lines) if args.json else "\n".join(lines or ["the unit has not written anything yet"]))
    return Exit.OK
