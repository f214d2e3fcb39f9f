"""Installing the proxy: every form of delivery, refusals, and the clean-up after a failure."""

import json
import os
import pwd
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.cli import main
from agent.core import releases
from agent.offline import artefact, versions
from agent.offline.artefact import IN_IMAGE, Unusable
from agent.privileged import Refusal
from agent.privileged.proxy import versions as links
from tests.lab import proxy_deliveries
from tests.lab.proxy_deliveries import image, layout, packed, program, release, sha256, tar
from tests.lab.reachable import reachable

OWNER = (2102, 2102)


@pytest.fixture
def host(tmp_path: Path, root: None) -> Path:
    """A prefix that the proxy's user can reach."""
    reachable(tmp_path)
    (tmp_path / "host/run").mkdir(parents=True)
    return tmp_path / "host"


@pytest.fixture
def delivery(tmp_path: Path) -> Path:
    (tmp_path / "delivery").mkdir()
    return tmp_path / "delivery"


def install(host: Path, source: Path, digest: str, version: str = "", dry_run: bool = False) -> versions.Installed:
    return versions.install(host, source, digest, version, OWNER, dry_run, lambda line: None)


def _binary(at: Path) -> tuple[Path, str]:
    path = at / "linkerd2-proxy-v2.366.0-linux-amd64"
    path.write_bytes(program())
    return path, sha256(program())


def _unpacked(at: Path) -> tuple[Path, str]:
    (at / "linkerd2-proxy-v2.366.0-linux-amd64").mkdir()
    (at / "linkerd2-proxy-v2.366.0-linux-amd64/linkerd2-proxy").write_bytes(program())
    return at / "linkerd2-proxy-v2.366.0-linux-amd64", sha256(program())


def _image_tar(at: Path) -> tuple[Path, str]:
    layout(at / "image", image())
    return at / "image.tar", packed(at / "image", at / "image.tar")


FORMS: dict[str, Callable[[Path], tuple[Path, str]]] = {
    "a tarball": release,
    "a binary": _binary,
    "a folder": _unpacked,
    "an image": lambda at: (at, layout(at, image())),
    "an image behind an index": lambda at: (at, layout(at, image(), nested=True)),
    "an image in a tar": _image_tar,
}


@pytest.mark.parametrize("form", FORMS)
def test_proxy_install_of_each_form(host: Path, delivery: Path, form: str) -> None:
    source, digest = FORMS[form](delivery)
    found = install(host, source, digest)
    assert (found.version, found.sha256, found.current) == ("2.366.0", sha256(program()), True)
    home = host / "var/lib/fairlead/proxy"
    assert (home / "current/linkerd2-proxy").read_bytes() == program()
    assert (home / "2.366.0/linkerd2-proxy").stat().st_mode & 0o777 == 0o755
    assert sorted(p.name for p in home.iterdir()) == ["2.366.0", "current"]
    assert sorted(p.name for p in (home / "2.366.0").iterdir()) == ["installed.json", "linkerd2-proxy"]
    assert install(host, source, digest) == found, "the same again changes nothing"


def test_proxy_install_takes_the_binarys_own_word_for_its_version(host: Path, delivery: Path) -> None:
    source, digest = release(delivery, "2.350.0", program("v2.360.1"))
    assert install(host, source, digest).version == "2.360.1"
    with pytest.raises(Unusable, match=r"it is version 2\.360\.1, not 2\.350\.0"):
        install(host, source, digest, "2.350.0")


def test_proxy_install_asks_for_the_version_where_nothing_says_it(host: Path, delivery: Path) -> None:
    (delivery / "p").write_bytes(program())
    with pytest.raises(Unusable) as raised:
        install(host, delivery / "p", sha256(program()))
    assert "--version" in raised.value.remedy
    assert install(host, delivery / "p", sha256(program()), "2.366.0").version == "2.366.0"


@pytest.mark.parametrize("form", FORMS)
def test_proxy_install_of_another_hash_runs_nothing(host: Path, delivery: Path, form: str) -> None:
    ran = delivery / "ran"
    source, _ = FORMS[form](delivery)
    with pytest.raises(Unusable, match="has the SHA-256"):
        install(host, source, "0" * 64)
    assert not ran.exists() and not list((host / "var/lib/fairlead/proxy").iterdir())


@pytest.mark.parametrize(
    ("version", "why"), [("2.329.0", "SPIRE"), ("2.330.0", "SPIRE"), ("2.219.9", "Workload API")]
)
def test_proxy_install_refuses_what_cannot_serve(host: Path, delivery: Path, version: str, why: str) -> None:
    with pytest.raises(Unusable, match=why):
        install(host, *release(delivery, version))
    assert versions.installed(host) == []


def test_proxy_install_warns_of_what_may_die(host: Path, delivery: Path) -> None:
    assert "14954" in install(host, *release(delivery, "2.345.9")).warning
    assert install(host, *release(delivery, "2.346.0")).warning == ""


@pytest.mark.parametrize(
    ("binary", "why"),
    [
        (program(exit_code=0), "must end with 64"),
        (program(exit_code=1), "must end with 64"),
        (b"\x7fELFnonsense", "cannot be run"),
    ],
)
def test_proxy_install_tries_it_first(host: Path, delivery: Path, binary: bytes, why: str) -> None:
    install(host, *release(delivery, "2.360.0"))
    with pytest.raises(Unusable, match=why):
        install(host, *release(delivery, "2.366.0", binary))
    assert [(one.version, one.current) for one in versions.installed(host)] == [("2.360.0", True)]


def test_proxy_install_runs_it_as_the_proxys_user_without_an_environment(host: Path, delivery: Path) -> None:
    checks = '[ "$(/usr/bin/id -u)" = 2102 ] && [ "$(/usr/bin/env | /usr/bin/grep -c LINKERD)" = 0 ]'
    spy = f"#!/bin/sh\n{checks} && exit 64\nexit 9\n".encode()
    assert install(host, *release(delivery, binary=spy)).current


def test_proxy_install_dry_run_keeps_nothing(host: Path, delivery: Path) -> None:
    assert install(host, *release(delivery), dry_run=True).version == "2.366.0"
    assert versions.installed(host) == []


def test_proxy_install_does_not_replace_a_version_by_another_of_its_name(host: Path, delivery: Path) -> None:
    install(host, *release(delivery))
    with pytest.raises(Unusable, match=r"another 2\.366\.0 is installed"):
        install(host, *release(delivery, binary=program() + b"# another\n"))


# archives that mean no good ------------------------------------------------------------------------


def member(name: str, kind: bytes, target: str) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, target
    return found


TOP = f"linkerd2-proxy-v2.366.0-linux-{proxy_deliveries.HERE}"


@pytest.mark.parametrize(
    "evil",
    [
        member(f"{TOP}/linkerd2-proxy", tarfile.SYMTYPE, "/bin/sh"),
        member(f"{TOP}/linkerd2-proxy", tarfile.LNKTYPE, "/etc/shadow"),
        member(f"{TOP}/linkerd2-proxy", tarfile.FIFOTYPE, ""),
        member(f"{TOP}/linkerd2-proxy", tarfile.DIRTYPE, ""),
    ],
    ids=["symlink", "hard link", "pipe", "folder"],
)
def test_proxy_install_takes_plain_files_alone(host: Path, delivery: Path, evil: tarfile.TarInfo) -> None:
    path = delivery / f"{TOP}.tar.gz"
    path.write_bytes(tar({evil.name: evil}))
    with pytest.raises(Unusable, match="not a regular file"):
        install(host, path, sha256(path.read_bytes()))


def test_proxy_install_writes_nowhere_else(host: Path, delivery: Path) -> None:
    path = delivery / f"{TOP}.tar.gz"
    path.write_bytes(tar({"../linkerd2-proxy": program(), "../../../escaped": b"x"}))
    with pytest.raises(Unusable):
        install(host, path, sha256(path.read_bytes()))
    assert not list(delivery.parent.rglob("escaped"))


@pytest.mark.parametrize(
    ("layers", "found"),
    [
        ([tar({IN_IMAGE: b"old"}), tar({IN_IMAGE: b"new"})], b"new"),
        ([tar({IN_IMAGE: b"old"}), tar({"usr/lib/linkerd/.wh.linkerd-await": b""})], b"old"),
        ([tar({IN_IMAGE: b"old"}), tar({"usr/lib/linkerd/.wh.linkerd2-proxy": b""})], None),
        ([tar({IN_IMAGE: b"old"}), tar({"usr/lib/linkerd/.wh..wh..opq": b""})], None),
        ([tar({IN_IMAGE: b"old"}), tar({"usr/.wh.lib": b""})], None),
        ([tar({IN_IMAGE: b"old"}), tar({".wh.usr": b""}), tar({IN_IMAGE: b"new"})], b"new"),
        ([tar({f"./{IN_IMAGE}": b"dotted"})], b"dotted"),
        ([tar({"etc/hosts": b""})], None),
    ],
)
def test_proxy_install_reads_layers_as_they_lie(delivery: Path, layers: list[bytes], found: bytes | None) -> None:
    digest = layout(delivery, layers)
    if found is None:
        with pytest.raises(Unusable, match="there is no /usr/lib/linkerd/linkerd2-proxy"):
            artefact.take(delivery, digest, delivery / "out")
        return
    assert artefact.take(delivery, digest, delivery / "out").version == ""
    assert (delivery / "out").read_bytes() == found


def test_proxy_install_checks_each_blob(delivery: Path) -> None:
    digest = layout(delivery, image())
    for blob in (delivery / "blobs/sha256").iterdir():
        if blob.name != digest:
            blob.write_bytes(blob.read_bytes() + b" ")
    with pytest.raises(Unusable, match="has the SHA-256"):
        artefact.take(delivery, digest, delivery / "out")


def test_proxy_install_takes_the_image_of_this_platform(delivery: Path) -> None:
    digest = layout(delivery, image(), architecture=proxy_deliveries.ELSEWHERE)
    with pytest.raises(Unusable, match="there is no image for linux/"):
        artefact.take(delivery, digest, delivery / "out")


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"manifests": [{}]}', b'{"manifests": 7}'])
def test_proxy_install_of_a_damaged_image_is_refused(delivery: Path, damage: bytes) -> None:
    digest = layout(delivery, image())
    (delivery / "index.json").write_bytes(damage)
    with pytest.raises(Unusable):
        artefact.take(delivery, digest, delivery / "out")


def test_proxy_install_of_a_truncated_tarball_is_refused(host: Path, delivery: Path) -> None:
    path, _ = release(delivery)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(Unusable):
        install(host, path, sha256(path.read_bytes()))


# what is current -----------------------------------------------------------------------------------


def test_proxy_current_goes_from_one_version_to_another_at_once(host: Path, delivery: Path) -> None:
    install(host, *release(delivery, "2.360.0"))
    install(host, *release(delivery, "2.366.0"))
    assert links.linked(host, "current") == "2.360.0", "installing changes nothing of what is current"
    links.set_current(host, "2.366.0")
    links.set_current(host, "2.366.0")
    assert (links.linked(host, "current"), links.linked(host, "previous")) == ("2.366.0", "2.360.0")
    with pytest.raises(Refusal, match="current one"):
        versions.remove(host, "2.366.0")
    versions.remove(host, "2.360.0")
    versions.remove(host, "2.360.0")
    assert [one.version for one in versions.installed(host)] == ["2.366.0"]
    assert links.linked(host, "previous") == ""


def test_the_standby_has_the_current_version_from_the_next_change_on(host: Path, delivery: Path) -> None:
    for version in ("2.360.0", "2.366.0"):
        install(host, *release(delivery, version))
    links.set_standby(host, "2.366.0")
    assert links.linked(host, "standby") == "2.366.0"
    links.set_standby(host, "")
    links.set_standby(host, "")
    assert links.linked(host, "standby") == ""
    links.set_standby(host, "2.366.0")
    links.set_current(host, "2.366.0")
    assert links.linked(host, "standby") == "", "what is current is the standby's too"


@pytest.mark.parametrize("version", ["2.999.0", "..", "../../etc", "current", "2.366", "2.366.0\n", ""])
def test_proxy_current_is_an_installed_version_alone(host: Path, delivery: Path, version: str) -> None:
    install(host, *release(delivery))
    with pytest.raises(Refusal):
        links.set_current(host, version)
    assert links.linked(host, "current") == "2.366.0"


@pytest.mark.parametrize("what", ["", "linkerd2-proxy"])
def test_proxy_current_is_roots_alone(host: Path, delivery: Path, what: str) -> None:
    install(host, *release(delivery, "2.360.0"))
    install(host, *release(delivery, "2.366.0"))
    os.chown(host / "var/lib/fairlead/proxy/2.366.0" / what, 2102, 2102)
    with pytest.raises(Refusal, match="belongs to uid 2102"):
        links.set_current(host, "2.366.0")


def test_proxy_install_needs_no_configuration(
    host: Path, delivery: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image is made before its hosts are known."""
    monkeypatch.setattr("pwd.getpwnam", lambda name: pwd.getpwuid(0) if name == "fairlead-proxy" else None)
    source, digest = release(delivery)
    command = ["proxy", "--prefix", str(host), "install", str(source), "--sha256", digest]
    assert main.main(command) == 0, capsys.readouterr().err
    assert links.linked(host, "current") == "2.366.0"


def test_proxy_install_without_the_proxys_user_says_what_to_do(
    host: Path, delivery: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (host / "etc/fairlead").mkdir(parents=True)
    text = Path("config/fairlead.toml").read_text().replace('"fairlead-proxy"', '"nobody-here"')
    (host / "etc/fairlead/fairlead.toml").write_text(text)
    source, digest = release(delivery)
    assert main.main(["proxy", "--prefix", str(host), "install", str(source), "--sha256", digest]) == 64
    assert "no user 'nobody-here'\n  create it (useradd" in capsys.readouterr().err


def test_proxy_install_help_says_what_may_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.main(["proxy", "install", "--help"])
    said = capsys.readouterr().out
    assert all(word in said for word in ("tarball", "oci:DIR", "manifest", "no configuration"))


def test_proxy_list_and_use_by_the_command(host: Path, delivery: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(host, *release(delivery, "2.340.0"))
    install(host, *release(delivery, "2.366.0"))
    at = ["proxy", "--prefix", str(host)]
    assert main.main([*at, "use", "v2.366.0"]) == 0
    capsys.readouterr()
    assert main.main([*at, "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(one["version"], one["current"], one["previous"]) for one in listed] == [
        ("2.340.0", False, True),
        ("2.366.0", True, False),
    ]
    assert main.main([*at, "list"]) == 0
    assert "14954" in capsys.readouterr().out
    assert main.main([*at, "remove", "2.366.0"]) == 1
    assert main.main([*at, "use", "9.9.9"]) == 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"{'a' * 64}  p.tar.gz\n", "a" * 64),
        (f"{'A' * 64} *p.tar.gz", "a" * 64),
        (f"{'b' * 64}  other\n{'a' * 64}  ./dist/p.tar.gz\n", "a" * 64),
        (f"{'a' * 64}\n", "a" * 64),
        (f"{'b' * 64}  other\n", ""),
        (f"{'a' * 63}  p.tar.gz\n", ""),
        ("", ""),
    ],
)
def test_proxy_checksums(text: str, found: str) -> None:
    assert releases.checksum(text, "p.tar.gz") == found


def test_proxy_version_of_a_path() -> None:
    assert releases.installed("/var/lib/fairlead/proxy/2.366.0/linkerd2-proxy") == "2.366.0"
    assert releases.installed("/usr/lib/linkerd/linkerd2-proxy") == ""
