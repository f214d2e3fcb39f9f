"""What another user may write is opened by one function, `agent.host.reading`. Each module that opens a file in
another way is named here, with what it opens."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
_KERNEL, _CREATES, _NAMED = "files of the kernel", "files that it creates", "what an operator named or it unpacked"
# The sandbox and its stand-ins run on nobody's host.
OTHERWISE = {
    "adapters/files.py": _CREATES,
    "adapters/instance.py": _CREATES,
    "adapters/memory.py": _KERNEL,
    "adapters/oom_kills.py": _KERNEL,
    "adapters/proxy_child.py": f"{_KERNEL}; {_CREATES}",
    "adapters/proxy_reading.py": _KERNEL,
    "adapters/proxy_unit.py": _KERNEL,
    "cli/kit/configuration.py": _NAMED,
    "cli/kit/operator.py": _NAMED,
    "cli/kit/crash.py": _CREATES,
    "cli/main.py": _KERNEL,
    "cli/proxy.py": _NAMED,
    "host/__init__.py": _KERNEL,
    "host/listeners.py": _KERNEL,
    "host/reading.py": "the function itself",
    "offline/archive.py": _NAMED,
    "offline/artefact.py": _NAMED,
    "offline/support/bundle.py": _CREATES,
    "offline/versions.py": _NAMED,
    "privileged/redirect/armed.py": _KERNEL,
    "privileged/redirect/backends/iptables.py": _KERNEL,
    "privileged/redirect/resolvers_gateways.py": _KERNEL,
    "privileged/redirect/tun.py": _KERNEL,
    "privileged/system/files.py": _CREATES,
    "privileged/system/listeners.py": _KERNEL,
    "privileged/system/processes.py": _KERNEL,
    "privileged/system/session.py": _KERNEL,
    "privileged/system/subnets.py": _KERNEL,
    "privileged/units/proxy.py": _KERNEL,
    "proxyunit/crash_count.py": _CREATES,
    "proxyunit/prepared.py": f"files of root alone; {_CREATES}",
    "proxyunit/proof.py": _KERNEL,
    "proxyunit/start.py": _KERNEL,
    "proxyunit/takeover.py": f"{_KERNEL}; a file of root alone",
}
_READS = {"read_text", "read_bytes"}


def opens(text: str) -> bool:
    """A call that opens a file: of `open`, `os.open`, or a Path."""
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Call(func=ast.Name(id="open")):
                return True
            case ast.Call(func=ast.Attribute(value=of, attr=name)) if name in _READS and not _named(of, "files"):
                return True
            # A path is no instance of this program's own classes, and no call of one that opens something else.
            case ast.Call(func=ast.Attribute(value=of, attr="open"), args=args) if _a_path(of, args):
                return True
    return False


def _a_path(of: ast.expr, args: list[ast.expr]) -> bool:
    """`Path.open` takes a mode or nothing; `os.open` more."""
    mode = not args or isinstance(args[0], ast.Constant) or _named(of, "os")
    return mode and not _named(of, "self", "tarfile")


def _named(of: ast.expr, *names: str) -> bool:
    return isinstance(of, ast.Name) and of.id in names


def test_files_of_other_users_are_opened_by_one_function() -> None:
    paths = (path for path in ROOT.glob("agent/**/*.py") if "sandbox" not in path.parts)
    found = {str(path.relative_to(ROOT / "agent")) for path in paths if opens(path.read_text())}
    assert found == set(OTHERWISE)


def test_each_way_to_open_a_file_is_seen() -> None:
    for way in ("open(p)", "os.open(p, 0)", "p.open()", "p.open('rb')", "p.read_text()", "Path(p).read_bytes()"):
        assert opens(way), way
    for other in (
        "self.open()",
        "reading.opened(p)",
        "layout.open(f'{x}')",
        "pidfd_open(1)",
        "files.read_bytes(p)",
    ):
        assert not opens(other), other
