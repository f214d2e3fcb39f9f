"""The guides for operators name reasons and checks that exist, and each cell of the comparison has its source."""

import re

from agent.core.doctor import cluster_checks, host_checks
from agent.core.reasons import Reason
from tests.docs.pages import ROOT

DOCS = ROOT / "docs"
_CAMEL = re.compile(r"\b(?:[A-Z][a-z]+){2,}\b")
# Names that others gave.
_OTHERS = {
    *("ExternalWorkload", "EndpointSlice", "ServiceAccount", "AuthorizationPolicy", "NetworkAuthentication"),
    *("WorkloadGroup", "ExternalGroup"),
}


def rows(page: str) -> list[list[str]]:
    """The cells of every table, without the heads."""
    lines = [line for line in (DOCS / page).read_text().splitlines() if line.startswith("| ")]
    heads = {number for number, line in enumerate(lines) if set(line) <= set("|- ")}
    kept = [line for number, line in enumerate(lines) if not {number, number + 1} & heads]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in kept]


def test_troubleshooting_names_reasons_and_checks_that_exist() -> None:
    known = {reason.value for reason in Reason}
    named = {name for row in rows("troubleshooting.md") for name in _CAMEL.findall(row[-1])} - _OTHERS
    assert len(named) > 20 and named <= known, named - known
    checks = {check.name for check in (*host_checks.HOST, *cluster_checks.CLUSTER, *cluster_checks.HOST)}
    words = {word for row in rows("troubleshooting.md") for word in re.findall(r"`([a-z-]+)`", row[-1])}
    assert words and words <= checks, words - checks


def test_each_entry_of_the_guides_is_answered_by_a_check_or_says_why_it_does_not_apply() -> None:
    text = (DOCS / "troubleshooting.md").read_text().partition("## What Linkerd's guides tell")[2]
    entries = [row for row in rows("troubleshooting.md") if f"| {row[0]} |" in text]
    checks = {check.name for check in (*host_checks.HOST, *cluster_checks.HOST, *cluster_checks.CLUSTER)}
    assert len(entries) >= 20
    for seen, told, where in entries:
        answered = checks & set(re.findall(r"`([a-z-]+)`", where))
        assert answered or "does not apply" in told or _CAMEL.findall(where), seen


def test_each_symptom_has_a_cause_and_a_place_to_look() -> None:
    found = rows("troubleshooting.md")
    assert len(found) > 25 and all(len(row) == 3 and all(row) for row in found)


def test_each_cell_of_the_comparison_has_its_source() -> None:
    text = (DOCS / "comparison.md").read_text()
    sources = {int(number) for number in re.findall(r"^(\d+)\. ", text, re.MULTILINE)}
    cells = [cell for row in rows("comparison.md") for cell in row[1:]]
    assert len(cells) >= 40
    assert [cell for cell in cells if not re.search(r"\[\d+\]$", cell)] == []
    cited = {int(number) for number in re.findall(r"\[(\d+)\]", text)}
    assert cited == sources


def test_policies_and_troubleshooting_name_every_check_of_the_cluster_that_is_about_them() -> None:
    text = (DOCS / "troubleshooting.md").read_text()
    assert [check.name for check in cluster_checks.HOST if f"`{check.name}`" not in text] == []
