"""What every test may ask for: the real parts, and the flag that leaves them out.

A test that needs a real part is marked `real`, by hand or because it takes one of the fixtures below.
Without the part such a test is an error that names the way out, never a skip: a fake is trusted only
because the same suite runs on the real thing. `--no-real` leaves them out, and is refused in CI.
"""

from __future__ import annotations

import asyncio
import compileall
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import settings

import agent.sandbox  # noqa: F401 - it says how gRPC forks, before any test imports gRPC

if TYPE_CHECKING:
    from tests.contract.jwt_worlds import Issuer
    from tests.lab.machine import Machine
    from tests.lab.realparts import ApiServer

# Imported where they are used only: most runs are of core and loops, and are over in seconds.
ROOT = Path(__file__).resolve().parent.parent
REAL_FIXTURES = {"real_apiserver", "real_namespace", "issuing", "judge", "root", "machine", "fresh_machine"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--reached", help="a file for the reasons that the product gave in this run")
    parser.addoption("--no-real", action="store_true", help="leave out what needs a real part (not in CI)")


def pytest_configure(config: pytest.Config) -> None:
    from tests.lab.reached_reasons import Reached

    config.pluginmanager.register(Reached(config))
    if not hasattr(config, "workerinput"):
        from tests.lab.slowest import Slowest

        config.pluginmanager.register(Slowest())
        _compile()
    if config.getoption("--no-real") and os.environ.get("CI"):
        raise pytest.UsageError("cannot leave out the real parts: this is CI\nRun without --no-real.")
    # A property is explored by chance where somebody looks at what chance finds, and always alike in CI.
    settings.register_profile("home", max_examples=40, deadline=None)
    settings.register_profile("ci", max_examples=100, derandomize=True, deadline=None)
    settings.load_profile("ci" if os.environ.get("CI") else "home")
    # looptime asks for the loop of every test. Before the first asynchronous one Python would make a loop
    # for the asking, which nobody closes; having been told "none", it says so instead.
    asyncio.set_event_loop(None)
    # A shell's background job ignores both, and so would every program that a test means to end by one.
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _compile() -> None:
    """Once for the whole run: thousands of processes import the agent, and the package brings its byte code too.

    Without it a request to the privileged helper spends most of its time limit on compiling.
    """
    for folder in ("agent", "tests"):
        compileall.compile_dir(ROOT / folder, quiet=1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if REAL_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.real)
    if config.getoption("--no-real"):
        left_out = [item for item in items if item.get_closest_marker("real")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True)
def _logs_of_its_own() -> Iterator[None]:
    """A test that starts the agent in this process turns the logs to the standard error it had then."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def real_apiserver() -> Iterator[ApiServer]:
    """A kube-apiserver for the whole run: work in a namespace of your own."""
    from tests.lab.realparts import ApiServer

    with ApiServer() as server:
        yield server


@pytest.fixture
def real_namespace(real_apiserver: ApiServer) -> str:
    return real_apiserver.new_namespace()


@pytest.fixture(scope="module")
def issuing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Issuer, ApiServer]]:
    """An issuer of JWT-SVIDs, and an API server that takes them."""
    from tests.contract import jwt_worlds

    with jwt_worlds.issuing(tmp_path_factory.mktemp("issuer")) as made:
        yield made


@pytest.fixture(scope="session")
def judge() -> Iterator[Path]:
    """The program that reads a Workload API with go-spiffe, where any user may run it."""
    from tests.lab.realparts import where

    built = where("judge")
    # The cache is in somebody's home, and some tests ask as another user.
    folder = Path(tempfile.mkdtemp(prefix="fairlead-judge-"))
    folder.chmod(0o755)
    yield Path(shutil.copy(built, folder / "judge"))
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def root() -> None:
    """This run may make network namespaces, load rulesets and become another user."""
    if os.geteuid() != 0:
        pytest.fail(
            "cannot do what only root may: this run is not root's\nRun: sudo make test, or pytest --no-real"
        )


@pytest.fixture(scope="session")
def machine(root: None) -> Iterator[Machine]:
    """A booted machine, fairlead installed and no unit of it enabled, for the whole run: leave it as it was."""
    from tests.lab import installed
    from tests.lab.machine import Machine

    with Machine(binds=installed.BINDS) as made:
        installed.install(made)
        with made.powered():
            yield made


@pytest.fixture
def fresh_machine(root: None) -> Iterator[Callable[[], Machine]]:
    """Makes machines of a test's own, laid out and not booted: see Machine.powered."""
    from tests.lab import installed
    from tests.lab.machine import Machine

    with ExitStack() as stack:

        def make() -> Machine:
            made = stack.enter_context(Machine(binds=installed.BINDS))
            installed.install(made)
            return made

        yield make


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails on the machine shows what that said."""
    report = yield
    found = getattr(item, "funcargs", {}).get("machine")
    if report.failed and report.when != "teardown" and found is not None:  # by then it may have gone
        report.sections.append(("journal of the machine", found.journal(lines=60)))
    return report
