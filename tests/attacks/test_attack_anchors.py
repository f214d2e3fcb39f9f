"""The attacker is the agent's user, and wants the proxy to trust a certificate authority of its own.

What must hold: what the agent keeps is a proposal. Root puts it in force at an operator's word, or at the agent's
where root's configuration says so; the proxy reads root's copy alone.
"""

import os
from pathlib import Path

import pytest

from agent.config import derived
from agent.core import anchors
from agent.host import Host
from agent.offline import identity
from agent.privileged import Refusal
from agent.privileged.helper.request import parse
from agent.privileged.proxy import anchors as roots_anchors
from agent.privileged.proxy import launch
from agent.privileged.system import configuration
from agent.sandbox.identity.ca import Authority
from tests.lab.reachable import reachable
from tests.privileged.hosts import CONFIG, files

OURS, THEIRS = Authority("example.org"), Authority("example.org")
BOTH = anchors.digest([OURS.der, THEIRS.der])
UNFOLLOWED = ("", 'anchors_source = "cluster"', 'anchors_source = "file"\nanchors_follow = true')
FOLLOWED = 'anchors_source = "cluster"\nanchors_follow = true'
AGENT = 2101


@pytest.fixture
def prefix(root: None, tmp_path: Path) -> Path:
    """A host whose agent keeps an authority of its own beside the mesh's."""
    tmp_path.chmod(0o755)
    (tmp_path / "anchors.pem").write_text(OURS.pem)
    files(tmp_path)
    kept = Host(tmp_path).anchors_kept
    kept.parent.mkdir()
    kept.write_text(anchors.pem([OURS.der, THEIRS.der]))
    for path in (kept.parent, kept):
        os.chown(path, AGENT, AGENT)
    return tmp_path


def configure(prefix: Path, more: str) -> None:
    text = CONFIG.replace("/etc/anchors.pem", str(prefix / "anchors.pem")).replace("[api]", f"{more}\n[api]")
    Host(prefix).configuration.write_text(text)


def trusted(prefix: Path) -> set[bytes]:
    """By the next proxy."""
    environment = launch.plan(prefix).environment
    return set(anchors.certificates("\n".join(environment.values())))


@pytest.mark.parametrize("more", UNFOLLOWED)
def test_attack_anchors_are_followed_where_root_says_so_alone(prefix: Path, more: str) -> None:
    configure(prefix, more)
    request = parse(b'{"verb": "anchors follow", "digest": "%s"}\n' % BOTH.encode())
    with pytest.raises(Refusal, match=r"cannot follow [0-9a-f]{12}: .* does not set identity\.anchors_follow"):
        request.carry_out(prefix)
    assert not Host(prefix).anchors_accepted.exists()
    assert trusted(prefix) == {OURS.der}


def test_attack_anchors_of_the_agents_file_are_not_the_proxys(prefix: Path) -> None:
    """Also where they are followed: neither launcher nor gate opens that file."""
    configure(prefix, FOLLOWED)
    assert trusted(prefix) == {OURS.der}
    places = derived.anchors_in_force(configuration.read(prefix), prefix)
    assert not any(Host(prefix).agent_state in path.parents for path in places)


def test_attack_anchors_that_change_after_their_digest_are_not_followed(prefix: Path) -> None:
    configure(prefix, FOLLOWED)
    with pytest.raises(Refusal, match="holds"):
        roots_anchors.follow(prefix, anchors.digest([OURS.der]))
    assert trusted(prefix) == {OURS.der}


def test_anchors_that_are_followed_are_roots_copy(prefix: Path) -> None:
    """The kept file may change afterwards, and the copy does not."""
    configure(prefix, FOLLOWED)
    roots_anchors.follow(prefix, BOTH)
    accepted = Host(prefix).anchors_accepted
    assert (accepted.stat().st_uid, accepted.stat().st_mode & 0o777) == (0, 0o644)
    Host(prefix).anchors_kept.write_text(THEIRS.pem)
    assert trusted(prefix) == {OURS.der, THEIRS.der}


def test_anchors_in_a_folder_that_is_closed_are_a_fault_and_no_crash(prefix: Path) -> None:
    """`anchors show` of a user who may not look into the agent's folder."""
    configure(prefix, 'anchors_source = "cluster"')
    reachable(prefix)
    Host(prefix).agent_state.chmod(0o700)
    os.seteuid(2109)
    try:
        mine, proposed = identity.anchor_sets(str(prefix))
    finally:
        os.seteuid(0)
    assert mine.digest == anchors.digest([OURS.der])
    assert proposed is not None and proposed.fault is not None
    assert proposed.fault.detail.endswith("Permission denied")
