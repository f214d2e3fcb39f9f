"""fairlead reload"""

import argparse
import json
import time
from typing import Any

from agent.cli.kit import until
from agent.cli.kit.arguments import prefix_argument
from agent.cli.kit.client import Client
from agent.cli.kit.exits import Exit, Failure, complain
from agent.cli.kit.follow import LATE
from agent.cli.kit.replacement import follow_replacement
from agent.cli.kit.until import statuses

DESCRIPTION = """\
Makes the agent read PREFIX/etc/fairlead/fairlead.toml again. A file with problems is refused, its problems are
listed, and the previous configuration stays in force (exit 64). Settings of the agent take effect at once and do
not change the proxy or the redirect. Other settings are listed and wait: those of the proxy for a restart
(--restart-proxy drains first, and fails no request if another host serves), those of the redirect for root's
`fairlead redirect apply`. SIGHUP and `systemctl reload fairlead` do the same, and write the result to the log.

  sudo fairlead reload                  after an edit of fairlead.toml
  sudo fairlead reload --restart-proxy  also what the proxy reads at its start"""

DOING = "reload the configuration"


def arguments(parser: argparse.ArgumentParser) -> None:
    prefix_argument(parser)
    parser.add_argument("--restart-proxy", action="store_true", help="restart the proxy if a change needs it")
    parser.add_argument("--force", action="store_true", help="with --restart-proxy: as in proxy restart")
    parser.add_argument("--no-wait", action="store_true", help="do not wait for the end")
    parser.add_argument("--json", action="store_true", help="the result, and each step, as one line of JSON")
    parser.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS", help="how long to wait")


def run(args: argparse.Namespace) -> int:
    deadline = time.monotonic() + args.timeout
    client = until.client(args, DOING)
    answer = client.order("reload", restart_proxy=args.restart_proxy, force=args.force)
    if args.json:
        print(json.dumps(answer), flush=True)
    if answer["problems"]:
        return print_refusal(answer, args)
    if not args.json:
        _tell(answer)
    if args.no_wait:
        return Exit.OK
    status = _in_force(client, answer, deadline)
    if not answer["restarting"]:
        return Exit.OK
    return follow_replacement(client, status, args, "restart the proxy", deadline)


def print_refusal(answer: dict[str, Any], args: argparse.Namespace) -> int:
    for problem in () if args.json else answer["problems"]:
        where = ": ".join(part for part in (answer["file"], problem["key"]) if part)
        complain(f"{where}: {problem['cause']}", problem["remedy"])
    count = len(answer["problems"])
    text = f"{count} problem{'s' * (count > 1)} in {answer['file']}; the previous configuration stays in force"
    raise Failure(Exit.CONFIG, f"cannot {DOING}: {text}")


def _tell(answer: dict[str, Any]) -> None:
    for key in answer["changed"]:
        print(f"{key}: {_what(key, answer)}")
    if not answer["changed"]:
        print("the configuration has not changed")
    if answer["proxy"] and not answer["restarting"]:
        print("restart the proxy at a convenient time: fairlead proxy restart")


def _what(key: str, answer: dict[str, Any]) -> str:
    waits = []
    if key in answer["proxy"]:
        waits.append("the proxy is restarted" if answer["restarting"] else "waits for a restart of the proxy")
    if key in answer["redirect"]:
        waits.append("waits for: fairlead redirect apply")
    return "; ".join(waits) or "in force"


def _in_force(client: Client, answer: dict[str, Any], deadline: float) -> dict[str, Any]:
    """The status, once the agent uses what it has read. Raises Failure: Exit.LATE after the deadline."""
    before = answer["count"] if answer["changed"] else None
    for status in statuses(client, deadline, restarts=True):
        if status["configuration"] != before:
            return status
    cause = "the agent still uses the previous configuration"
    raise Failure(Exit.LATE, f"cannot {DOING} in time: {cause}", LATE)
