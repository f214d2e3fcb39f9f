"""What is prepared for a restart of the proxy, where writing or using it fails: the tested path does the same."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.core import prepared as forms
from agent.host import Host as Paths
from agent.sandbox.stage.namespaces import mount
from tests.privileged.hosts import Host
from tests.privileged.levels import BLOCKED, FAILED, NOW, ON, done, levels
from tests.privileged.test_prepared import PREPARED_END, armed, ended, hook, plan, ran, rules, served

__all__ = ["served"]

_PAGES = 64  # of the small file system


@pytest.fixture
def full(served: Host) -> Iterator[Path]:
    """The folder of what is prepared, on a file system that has no room left."""
    folder = Paths(served.prefix).prepared
    mount("tmpfs", folder, "tmpfs", data=f"size={_PAGES * 4}k,mode=0755")
    try:
        filler = folder / "filler"
        with pytest.raises(OSError, match="No space left"):
            filler.write_bytes(bytes(_PAGES * 4096 + 1))
        yield filler
    finally:
        subprocess.run(["umount", folder], env={"PATH": os.defpath}, check=True)


def test_a_full_disk_prepares_nothing_and_spoils_no_request(served: Host, full: Path) -> None:
    assert levels(served, NOW) == ON
    assert plan(served) is None, "not a part of it either"
    assert levels(served, FAILED) == BLOCKED
    assert levels(served, {"verb": "redirect arm"}) == ON
    full.unlink()
    assert levels(served, NOW) == ON
    assert plan(served) is not None, "there is room again"


def test_on_a_full_disk_the_end_of_a_proxy_closes_its_port(served: Host, full: Path) -> None:
    """How it ended cannot be written down, which the journal says."""
    done_ = ran(served, "ended", whole=True)
    assert "/ended: No space left on device" in done_.stderr
    assert done_.stdout == f"{PREPARED_END}\n"
    assert levels(served) == BLOCKED


def emptied(host: Host) -> None:
    """Another program has emptied /run."""
    shutil.rmtree(Paths(host.prefix).prepared)


def without_scripts(host: Host) -> None:
    for name in forms.SCRIPTS:
        (Paths(host.prefix).prepared / name).unlink(missing_ok=True)  # one is of two slots alone


def refused_by_nft(host: Host) -> None:
    """nft takes none of it: a script is one transaction."""
    for name in forms.SCRIPTS:
        (Paths(host.prefix).prepared / name).write_text('{"nftables": [{"add": {"table": {}}}]}')


CHANGES = [emptied, without_scripts, refused_by_nft]


@pytest.mark.parametrize("change", CHANGES)
def test_what_nft_does_not_take_changes_nothing_and_is_for_the_tested_path(
    served: Host, change: Callable[[Host], None]
) -> None:
    change(served)
    before = rules(served)
    assert ended(served) == "tested failed\n"
    assert armed(served).endswith("tested arm\n")
    assert rules(served) == before


@pytest.mark.parametrize("change", CHANGES)
def test_the_tested_path_does_the_whole_work_and_the_next_apply_prepares_again(
    served: Host, change: Callable[[Host], None]
) -> None:
    change(served)
    assert hook(served, "ended", whole=True) == f"{PREPARED_END}\n"
    assert levels(served) == BLOCKED
    folder = Paths(served.prefix).prepared
    assert len((folder / forms.ENDED).read_text().split()) >= 1, "the end is recorded all the same"
    assert levels(served, {"verb": "redirect arm"}) == ON
    done(served, NOW)
    if change is emptied:
        assert ended(served) == f"{PREPARED_END} (prepared)\n"
