"""Where metrics may be served."""

import pytest

from agent import config
from tests.config.test_config import EXAMPLE

_EMPTY = 'listen = ""\n'


def parsed(listen: str, plain: bool = False, ports: str = "[5432]") -> config.Config:
    text = (
        EXAMPLE.read_text()
        .replace(_EMPTY, f'listen = "{listen}"\n')
        .replace("\nports = [5432]", f"\nports = {ports}")
    )
    return config.parse(text.replace("plain = false", f"plain = {str(plain).lower()}"))


@pytest.mark.parametrize("listen", ["", "127.0.0.1:9464", "[::1]:9464"])
def test_on_loopback_it_needs_nothing(listen: str) -> None:
    assert parsed(listen).metrics.listen == listen and not config.warnings(parsed(listen, plain=True))


def test_on_the_workloads_address_its_port_is_declared() -> None:
    found = parsed("192.0.2.10:9464", ports="[5432, 9464]")
    assert found.metrics.listen == "192.0.2.10:9464" and not config.warnings(found)


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        ("192.0.2.10:9464", "the port of 192.0.2.10:9464 is not declared"),
        ("0.0.0.0:9464", "0.0.0.0:9464 is neither loopback nor an address of the workload"),
        ("192.0.2.99:5432", "neither loopback nor"),
    ],
)
def test_elsewhere_it_is_refused_and_in_plain_text_warned_of(listen: str, said: str) -> None:
    with pytest.raises(config.ConfigError) as raised:
        parsed(listen)
    (problem,) = raised.value.problems
    assert problem.key == "metrics.listen" and said in problem.cause and "metrics.plain" in problem.remedy
    (warning,) = config.warnings(parsed(listen, plain=True))
    assert warning.key == "metrics.plain" and "docs/monitoring.md" in warning.remedy


@pytest.mark.parametrize(
    "listen", ["9464", ":9464", "localhost:9464", "::1:9464", "10.0.0.1:0", "10.0.0.1:65536", "127.0.0.1:4191"]
)
def test_what_is_no_place_is_refused(listen: str) -> None:
    with pytest.raises(config.ConfigError) as raised:
        parsed(listen)
    assert [problem.key for problem in raised.value.problems] == ["metrics.listen"]
