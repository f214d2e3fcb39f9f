"""fairlead anchors show|accept"""

import argparse
import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from agent.cli.kit.arguments import prefix_argument
from agent.cli.kit.exits import Exit, Failure, must_be_root, see_all

if TYPE_CHECKING:
    from agent.offline.identity import AnchorSet

DESCRIPTION = """\
The proxy verifies peers with these certificates. The agent checks the trust anchors from identity.anchors_source
against this host's SVID and keeps them as a proposal. The proxy uses a proposal only after root accepts it.
  show      the certificates in force and the proposed ones
  accept    put the proposal in force; needs its digest, so that no other proposal is accepted.
            The proxy reads the trust anchors at its next start, at a random time within
            identity.anchors_window. To accept the same proposal again changes nothing.

  fairlead anchors show                show both, with their digests and dates
  sudo fairlead anchors accept DIGEST  put the proposal of that digest in force"""


def arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(metavar="show|accept", required=True)
    show = verbs.add_parser("show", help="show the trust anchors in force and the proposed ones")
    show.set_defaults(act=_show)
    accept = verbs.add_parser("accept", help="put the proposal in force (root only)")
    accept.add_argument("digest", type=_digest, metavar="DIGEST", help="from `fairlead anchors show`")
    accept.add_argument("--dry-run", action="store_true", help="only show what would be accepted")
    accept.set_defaults(act=_accept)
    for verb in (show, accept):
        prefix_argument(verb)
        verb.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int:
    code: int = args.act(args)
    return code


def _digest(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a digest: write all its 64 digits")
    return text


def _sets(prefix: str) -> "tuple[AnchorSet, AnchorSet | None]":
    from agent.offline import identity

    try:
        return identity.anchor_sets(prefix)
    except identity.Unconfigured as error:
        raise Failure(Exit.CONFIG, f"cannot read the trust anchors: {error}", see_all(prefix)) from None


def _show(args: argparse.Namespace) -> int:
    mine, proposed = _sets(args.prefix)
    if args.json:
        print(json.dumps({"in_force": _plain(mine), "proposed": _plain(proposed)}, indent=2))
    else:
        print("\n".join(render(mine, proposed)))
    return Exit.FAILED if mine.fault else Exit.OK


def _plain(anchors: "AnchorSet | None") -> dict[str, Any] | None:
    if anchors is None:
        return None
    fault = {"reason": anchors.fault.reason.value, "detail": anchors.fault.detail} if anchors.fault else None
    return {**asdict(anchors), "fault": fault}


def render(mine: "AnchorSet", proposed: "AnchorSet | None") -> Iterator[str]:
    yield f"in force: {mine.path}"
    yield from _lines(mine)
    if proposed is not None:
        yield ""
        yield f"proposed: {proposed.path}"
        yield from _lines(proposed)
        yield f"  → fairlead anchors accept {proposed.digest}"


def _lines(anchors: "AnchorSet") -> Iterator[str]:
    if anchors.fault is not None:
        yield f"  {anchors.fault.reason}: {anchors.fault.detail}"
        yield f"    → {anchors.fault.way_out}"
        return
    yield f"  digest {anchors.digest}"
    for each in anchors.certificates:
        ends = datetime.fromtimestamp(each.not_after, UTC).date()
        yield f"  {each.subject}, until {ends}, sha256 {each.sha256[:16]}…"


def _accept(args: argparse.Namespace) -> int:
    mine, proposed = _sets(args.prefix)
    if mine.digest == args.digest:
        return _say(args, mine.digest, "already in force")
    if proposed is None or proposed.digest != args.digest:
        remedy = "see the proposal: fairlead anchors show"
        raise Failure(Exit.FAILED, f"cannot accept {args.digest[:12]}: it is not the proposal", remedy)
    if args.dry_run:
        return _say(args, proposed.digest, "would be accepted")
    from agent.offline import helper

    must_be_root("accept the trust anchors")
    try:
        helper.ask(args.prefix, "anchors accept", digest=proposed.digest)
    except helper.Refused as refused:
        raise Failure(Exit.FAILED, str(refused), "look again: fairlead anchors show") from None
    return _say(args, proposed.digest, "accepted; the proxy reads them at its next start")


def _say(args: argparse.Namespace, digest: str, what: str) -> int:
    print(json.dumps({"digest": digest, "outcome": what}) if args.json else f"{digest[:12]}: {what}")
    return Exit.OK
