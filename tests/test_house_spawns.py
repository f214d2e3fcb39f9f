"""Every program is started with an environment of its own.

A thread that starts one with that of the process, while another thread changes it, hands a pointer to memory that
is gone to the kernel: EFAULT.
"""

import ast
from collections.abc import Iterator

import pytest

from tests.test_house import PYTHON, ROOT

_SUBPROCESS = ("run", "Popen", "check_output", "check_call", "call", "getoutput", "getstatusoutput")
WITH_ENVIRONMENT = {
    *(f"subprocess.{name}" for name in _SUBPROCESS),
    *("asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell"),
    *("loop.subprocess_exec", "loop.subprocess_shell", "subprocess_exec", "subprocess_shell"),
}
THIRD = {"os.posix_spawn", "os.posix_spawnp", "os.execve", "os.execvpe"}  # their third argument
NEVER = {
    "os.system",
    "os.popen",
    *(f"os.{name}{way}" for name in ("spawn", "exec") for way in ("l", "lp", "v", "vp")),
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def shared(text: str) -> list[int]:
    """Lines on which a program is started with the environment of this process, or may be."""
    tree = ast.parse(text)
    names = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return sorted(_of(tree, names, frozenset()))


def _of(node: ast.AST, names: dict[str, str], optional: frozenset[str]) -> Iterator[int]:
    """`optional`: parameters around here that may be None."""
    if isinstance(node, Function):
        optional = optional | {arg.arg for arg in _arguments(node) if _may_be_none(arg)}
    if isinstance(node, ast.Call) and _is_shared(node, names, optional):
        yield node.lineno
    for child in ast.iter_child_nodes(node):
        yield from _of(child, names, optional)


def _arguments(function: Function) -> list[ast.arg]:
    return [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]


def _may_be_none(arg: ast.arg) -> bool:
    return arg.annotation is not None and "None" in ast.unparse(arg.annotation)


def _is_shared(call: ast.Call, names: dict[str, str], optional: frozenset[str]) -> bool:
    said = ast.unparse(call.func)
    name = names.get(said, said)
    if name in NEVER:
        return True
    if name in THIRD:
        return len(call.args) < 3 or _is_inherited(call.args[2], optional)
    if name not in WITH_ENVIRONMENT and name.split(".")[-1] not in WITH_ENVIRONMENT:
        return False
    given = {word.arg: word.value for word in call.keywords}
    if "env" not in given:
        return None not in given  # `**words` may bring it
    return _is_inherited(given["env"], optional)


def _is_inherited(value: ast.expr, optional: frozenset[str]) -> bool:
    said = ast.unparse(value)
    return said in {"None", "os.environ", "environ"} or said in optional


@pytest.mark.parametrize(
    "call",
    [
        "subprocess.run(argv)",
        "subprocess.Popen(argv, env=None)",
        "subprocess.run(argv, env=os.environ)",
        "asyncio.create_subprocess_shell(line)",
        "loop.subprocess_exec(factory, *argv)",
        "os.posix_spawn(path, argv, os.environ)",
        "os.system(line)",
        "os.execv(path, argv)",
        "from subprocess import run as start\nstart(argv)",
        "def start(argv: list[str], env: dict[str, str] | None) -> None:\n    subprocess.run(argv, env=env)",
    ],
)
def test_a_shared_environment_is_found(call: str) -> None:
    assert shared(call)


@pytest.mark.parametrize(
    "call",
    [
        "subprocess.run(argv, env={**os.environ})",
        "os.posix_spawn(path, argv, environment())",
        "asyncio.run(main())",
        "spawn.run(argv, within=1)",
        "def start(argv: list[str], env: dict[str, str]) -> None:\n    subprocess.run(argv, env=env)",
    ],
)
def test_an_environment_of_its_own_is_good(call: str) -> None:
    assert not shared(call)


def test_every_program_is_started_with_an_environment_of_its_own() -> None:
    for folder in ("agent", "packaging", "tests"):
        assert any(path.is_relative_to(ROOT / folder) for path in PYTHON)
    assert {
        str(path.relative_to(ROOT)): lines
        for path in (*PYTHON, *ROOT.glob("benchmarks/*.py"))
        if (lines := shared(path.read_text()))
    } == {}
