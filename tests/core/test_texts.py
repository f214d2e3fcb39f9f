"""Files of people and their editors: byte order marks, line ends, and what is not ASCII."""

import codecs
from pathlib import Path

import pytest

from agent import config
from agent.adapters import proxy_child
from agent.core import anchors
from agent.core.text_files import armour, text
from agent.privileged.proxy import launch
from tests.config.test_config import EXAMPLE

PEM = anchors.pem([b"one", b"two"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_text_has_no_byte_order_mark(encoding: str) -> None:
    raw = "töken\r\n".encode(encoding)
    raw = codecs.BOM_UTF16_BE + raw if encoding == "utf-16-be" else raw
    assert text(raw).strip() == "töken"


@pytest.mark.parametrize(
    "raw",
    [
        codecs.BOM_UTF8 + PEM.encode(),
        ("# Zürich\n" + PEM).encode("latin-1"),
        ("# 東京\n" + PEM).encode(),
        PEM.replace("\n", "\r\n").encode(),
        PEM.encode("utf-16"),
        b"\xff" + PEM.encode(),
    ],
)
def test_cases_trust_anchors_of_any_editor(raw: bytes) -> None:
    assert anchors.certificates(armour(raw)) == (b"one", b"two")
    assert armour(raw).isascii()


def test_cases_a_configuration_with_a_byte_order_mark() -> None:
    assert config.parse("\ufeff" + EXAMPLE.read_text()) == config.parse(EXAMPLE.read_text())


ANCHORS = "# Zürich\n".encode("latin-1") + (b"-----BEGIN CERTIFICATE-----\nb25l\n-----END CERTIFICATE-----\n")


def test_cases_the_proxy_is_started_with_anchors_of_any_editor(root: None, tmp_path: Path) -> None:
    """Its environment must be text, or it does not start."""
    (tmp_path / "etc/fairlead").mkdir(parents=True)
    (tmp_path / "anchors.pem").write_bytes(ANCHORS)
    text = EXAMPLE.read_text().replace("/etc/fairlead/trust-anchors.pem", str(tmp_path / "anchors.pem"))
    text = text.replace('user = "fairlead-proxy"', 'user = "2102"')
    (tmp_path / "etc/fairlead/fairlead.toml").write_text(text)
    environment = launch.plan(tmp_path).environment
    assert environment["LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS"].isascii()
    assert anchors.certificates(environment["LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS"]) == (b"one",)


def test_cases_a_child_is_started_with_anchors_of_any_editor(tmp_path: Path) -> None:
    from agent.sandbox.identity.ca import Authority

    (tmp_path / "anchors.pem").write_bytes("# Zürich\n".encode("latin-1") + Authority("td").pem.encode())
    assert "BEGIN CERTIFICATE" in proxy_child.read_anchors([tmp_path / "anchors.pem"])
