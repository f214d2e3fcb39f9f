import re
from pathlib import Path

from agent.core.reasons import REGISTRY, Reason, Severity

# What the ExternalWorkload CRD accepts for a condition's reason (docs/linkerd.md §5).
CRD = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")


def test_every_reason_is_registered_once() -> None:
    assert set(REGISTRY) == set(Reason)
    assert len({entry.text for entry in REGISTRY.values()}) == len(REGISTRY)


def test_every_code_fits_the_crd() -> None:
    for reason in Reason:
        assert CRD.fullmatch(reason.value) and len(reason.value) <= 1024
        assert re.fullmatch(r"([A-Z][a-z0-9]+)+", reason.value), "CamelCase"


def test_every_fault_and_warning_has_a_way_out() -> None:
    for reason, entry in REGISTRY.items():
        assert entry.remedy or entry.severity in (Severity.OK, Severity.WAIT), reason
        assert entry.text[0].islower() or entry.text.startswith(("SPIFFE", "SVID")), reason


def test_depends_on_has_no_circle() -> None:
    """Else two faults would silence each other."""
    left = set(Reason)
    while left:
        free = {r for r in left if not REGISTRY[r].depends_on & left}
        assert free, left
        left -= free


def test_a_symptom_depends_on_causes_that_are_faults_of_their_own() -> None:
    for reason, entry in REGISTRY.items():
        assert entry.severity is not Severity.OK or not entry.depends_on, reason
        assert all(REGISTRY[cause].severity is not Severity.OK for cause in entry.depends_on), reason


TESTS = Path(__file__).parents[1]


def test_every_reason_is_reached_by_a_test() -> None:
    """Each stands by name in a test that would fail without it: as a member of Reason, or as the word itself."""
    texts = [path.read_text() for path in TESTS.glob("**/*.py") if path != Path(__file__)]
    found = set(re.findall(r"\bReason\.([A-Z_]+)\b", "\n".join(texts)))
    words = set(re.findall(r"[\"'(, ]([A-Z][A-Za-z]+)\b", "\n".join(texts)))
    assert {r.name for r in Reason if r.name not in found and r.value not in words} == set()


def test_every_reason_is_given_by_something() -> None:
    registry = set(TESTS.parent.glob("agent/core/reason*.py"))
    code = "".join(path.read_text() for path in TESTS.parent.glob("agent/**/*.py") if path not in registry)
    given = set(re.findall(r"\bReason\.([A-Z_]+)\b", code))
    assert {r.name for r in Reason} - given == set()
