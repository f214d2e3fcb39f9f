"""fairlead proxy VERB"""

import argparse
import json
from pathlib import Path

from agent.cli import proxy_agent, proxy_inspection
from agent.cli.kit.arguments import prefix_argument
from agent.cli.kit.configuration import load
from agent.cli.kit.exits import Exit, Failure, must_be_root
from agent.host import Host

DESCRIPTION = """\
Versions of linkerd2-proxy are installed under /var/lib/fairlead/proxy, owned by root. One of them is current.

  fairlead proxy install FILE --sha256 HASH   a release's tarball or folder, a binary, an OCI image layout
  fairlead proxy list                         list the installed versions
  fairlead proxy upgrade VERSION              drain, replace, verify, serve; roll back if it does not become ready
  fairlead proxy rollback                     the same, to the previous version
  fairlead proxy restart                      the same, with the same version: for new trust anchors and settings
  fairlead proxy check [VERSION]              check whether the next start would work, without a change
  fairlead proxy use VERSION                  set the version of the next start; the running proxy is not changed
  fairlead proxy remove VERSION               remove a version that is not current
  fairlead proxy log-level [FILTER]           show or set the log filter of the running proxy
  fairlead proxy env [--diff]                 show the environment of the next start, and how it differs from now
  fairlead proxy logs                         show the last lines of the proxy's unit"""

INSTALL = """\
Verifies the hash of FILE, runs the binary as the proxy's user, and installs it to /var/lib/fairlead/proxy/VERSION.
It needs no configuration and no agent, so it also works in an image build. FILE is one of:

  a release's tarball      linkerd2-proxy-v2.366.0-linux-amd64.tar.gz; --sha256 or --checksums of the tarball
  its folder, unpacked     --sha256 of the binary linkerd2-proxy in it
  the binary               --sha256 of the binary; --version if the binary does not report its version
  an OCI image layout      a folder (skopeo copy docker://cr.l5d.io/linkerd/proxy:TAG oci:DIR); --sha256 of the
                           image's manifest (the digest in the registry)
  an OCI image in one tar  (skopeo copy … oci-archive:FILE); --sha256 of the tar

The first installed version becomes current. Later versions: fairlead proxy upgrade VERSION."""


def arguments(parser: argparse.ArgumentParser) -> None:
    prefix_argument(parser)
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    install = verbs.add_parser(
        "install",
        help="verify the hash of a file, test it, and install it",
        description=INSTALL,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    install.add_argument("source", type=Path, metavar="FILE|DIR", help="the file to install; see above")
    which = install.add_mutually_exclusive_group(required=True)
    which.add_argument("--sha256", metavar="HASH", help="of the file; for an OCI layout, of the manifest")
    which.add_argument("--checksums", type=Path, metavar="FILE", help="a list of hashes that names the file")
    install.add_argument("--version", default="", help="if the file does not contain it")
    install.add_argument("--dry-run", action="store_true", help="verify and test it, without installing it")
    install.add_argument("--json", action="store_true")
    install.set_defaults(act=_install)
    listing = verbs.add_parser("list", help="list the installed versions")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(act=_list)
    for verb, act, text in (
        ("use", _use, "set the version of the next start"),
        ("remove", _remove, "remove a version that is not current"),
    ):
        one = verbs.add_parser(verb, help=text)
        one.add_argument("version", metavar="VERSION")
        one.set_defaults(act=act)

    proxy_agent.arguments(verbs)
    proxy_inspection.arguments(verbs)
    for one in verbs.choices.values():  # accepted before and after the verb
        prefix_argument(one, argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    code: int = args.act(args)
    return code


def _root(args: argparse.Namespace) -> Path:
    return Host.below(args.prefix).prefix


def _install(args: argparse.Namespace) -> int:
    from agent.config import derived
    from agent.offline import versions
    from agent.offline.artefact import Unusable

    must_be_root("install the proxy")
    user = _user(args)
    tell = (lambda line: None) if args.json else (lambda line: print(f"  {line}", flush=True))
    try:
        owner = derived.owner(user)
        installed = versions.install(
            _root(args), args.source, _digest(args), args.version.removeprefix("v"), owner, args.dry_run, tell
        )
    except Unusable as error:
        raise Failure(Exit.FAILED, f"cannot install {args.source}: {error.cause}", error.remedy) from None
    except versions.Refusal as refusal:
        raise Failure(Exit.FAILED, f"cannot install {args.source}: {refusal.detail}") from None
    except KeyError:
        remedy = "create it (useradd --system --shell /usr/sbin/nologin NAME), or correct proxy.user"
        raise Failure(Exit.CONFIG, f"cannot install {args.source}: no user {user!r}", remedy) from None
    if args.json:
        print(json.dumps(versions.plain(installed)))
        return Exit.OK
    if installed.warning:
        print(f"  warning: {installed.warning}")
    how = "could be installed" if args.dry_run else "is installed" + (", and current" if installed.current else "")
    print(f"linkerd2-proxy {installed.version} {how}")
    if not (installed.current or args.dry_run):
        print(f"  upgrade to it with: fairlead proxy upgrade {installed.version}")
    return Exit.OK


def _user(args: argparse.Namespace) -> str:
    """The user that runs the test. In an image build there is no configuration yet: then the default."""
    from agent.config import ProxyConfig

    path = Host(_root(args)).configuration
    return load(path).proxy.user if path.exists() else ProxyConfig().user


def _digest(args: argparse.Namespace) -> str:
    from agent.core import releases, text_files

    if args.sha256:
        digest = args.sha256.removeprefix("sha256:").lower()
        if not releases.is_digest(digest):
            raise Failure(Exit.USAGE, f"cannot use {args.sha256!r}: it is not a SHA-256 in hexadecimal")
        return str(digest)
    try:
        digest = releases.checksum(text_files.text(args.checksums.read_bytes()), args.source.name)
    except OSError as error:
        raise Failure(Exit.USAGE, f"cannot read {args.checksums}: {error.strerror}") from None
    if not digest:
        raise Failure(Exit.FAILED, f"cannot install {args.source}: {args.checksums} does not name it")
    return digest


def _list(args: argparse.Namespace) -> int:
    from agent.offline import versions

    installed = versions.installed(_root(args))
    if args.json:
        print(json.dumps([versions.plain(one) for one in installed], indent=2))
        return Exit.OK
    for one in installed:
        mark = "current" if one.current else "previous" if one.previous else ""
        print(f"{one.version:<12} {mark:<10}{one.warning}".rstrip())
    if not installed:
        print("no version is installed; see: fairlead proxy install --help")
    return Exit.OK


def _use(args: argparse.Namespace) -> int:
    from agent.offline import versions

    must_be_root("change the current version")
    try:
        versions.set_current(_root(args), args.version.removeprefix("v"))
    except versions.Refusal as refusal:
        raise Failure(Exit.FAILED, refusal.detail, "list the installed versions: fairlead proxy list") from None
    print("the next start uses this version; to start it now: fairlead proxy restart")
    return Exit.OK


def _remove(args: argparse.Namespace) -> int:
    from agent.offline import versions

    must_be_root("remove a version")
    try:
        versions.remove(_root(args), args.version.removeprefix("v"))
    except versions.Refusal as refusal:
        raise Failure(
            Exit.FAILED, refusal.detail, "upgrade to another version first: fairlead proxy upgrade"
        ) from None
    return Exit.OK
