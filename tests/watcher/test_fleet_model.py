"""The model of large fleets says what was measured, and docs/scale.md shows what it says."""

import asyncio
from pathlib import Path

import pytest

from benchmarks.fleet_model import PERIODS, fleet, period, show

SCALE = (Path(__file__).parents[2] / "docs/scale.md").read_text()


def column(line: str, number: int) -> str:
    row = next(one for one in SCALE.splitlines() if one.startswith(f"| {line} |"))
    return row.split("|")[number + 1].strip()


@pytest.mark.parametrize(("number", "hosts", "every"), [(1, 1000, 10.0), (2, 5000, 60.0)])
def test_it_agrees_with_the_measured_points(number: int, hosts: int, every: float) -> None:
    found = fleet(hosts, every)
    measured = {
        what: float(column(f"CPU of {what} for one", number).split()[0]) for what in ("the API server", "etcd")
    }
    apiserver, etcd = (float(text) for text in _memory(number))
    rate = found.renewals
    assert found.apiserver_cores / rate * 1000 == pytest.approx(measured["the API server"], rel=0.1)
    assert found.etcd_cores / rate * 1000 == pytest.approx(measured["etcd"], rel=0.1)
    assert found.apiserver_memory == pytest.approx(apiserver, rel=0.05)
    assert found.etcd_memory == pytest.approx(etcd, rel=0.05)
    assert rate == pytest.approx(float(column("renewals in a second", number)), rel=0.1)
    read, written = column("API server for one: read and written", number).removesuffix("kB").split("and")
    assert found.moved / rate / 1000 == pytest.approx(float(read) + float(written), rel=0.1)


def _memory(number: int) -> list[str]:
    return column("memory of API server and etcd", number).removesuffix("MiB").split("and")


@pytest.mark.parametrize("hosts", [10_000, 20_000, 50_000])
def test_the_document_has_its_table(hosts: int, capsys: pytest.CaptureFixture[str]) -> None:
    found = fleet(hosts, period(hosts))
    assert column(f"{hosts:,}", 2) == f"{found.renewals:.0f}"
    assert column(f"{hosts:,}", 3) == f"{found.apiserver_cores:.2f} cores, {found.apiserver_memory:,.0f} MiB"
    assert column(f"{hosts:,}", 4) == f"{found.etcd_cores:.2f} cores, {found.etcd_memory:,.0f} MiB"
    assert column(f"{hosts:,}", 5) == f"{found.moved / 1e6:.1f} and {found.listed / 1e6:.1f} MB/s"
    asyncio.run(show(hosts, 0))
    assert f"{found.renewals:.0f} renewals/s" in capsys.readouterr().out


def test_the_period_grows_with_the_fleet() -> None:
    assert [period(hosts) for hosts, _ in PERIODS] == [seconds for _, seconds in PERIODS]
    assert period(5001) == 60
