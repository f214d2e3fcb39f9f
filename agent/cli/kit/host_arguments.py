"""The arguments that describe one host, for the verbs of an operator."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.core.enrol.request import Port


def add(parser: argparse.ArgumentParser) -> None:
    host = parser.add_argument_group("the host")
    host.add_argument(
        "--address", action="append", default=[], metavar="IP", help="where peers dial the host; repeatable"
    )
    host.add_argument("--identity", default="", metavar="SPIFFE-ID", help="with {name}, {namespace} filled in")
    host.add_argument("--server-name", default="", metavar="NAME", help="the SNI of peers' handshakes")
    host.add_argument(
        "--port",
        action="append",
        default=[],
        type=_port,
        metavar="[NAME=]PORT[/opaque]",
        help="of the application; opaque: its server speaks first; repeatable",
    )
    host.add_argument(
        "--label",
        action="append",
        default=[],
        type=_label,
        metavar="KEY=VALUE",
        help="by which Services select the host; repeatable",
    )
    host.add_argument("--api-identity", default="", metavar="SPIFFE-ID", help="default: --identity and /agent")
    host.add_argument(
        "--account",
        action="store_true",
        default=None,
        help="the host authenticates with a token of a ServiceAccount, not with a JWT-SVID",
    )


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def _port(text: str) -> "Port":
    from agent.core.enrol.request import Port

    name, equals, rest = text.rpartition("=")
    number, slash, word = rest.partition("/")
    if not number.isdecimal() or (slash and word != "opaque") or (equals and not name):
        raise argparse.ArgumentTypeError(f"{text!r} is not [NAME=]PORT[/opaque]")
    return Port(int(number), name, bool(slash))
