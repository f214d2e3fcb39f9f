import re

from agent.core.reasons import REGISTRY, Reason, Severity

# What the ExternalWorkload CRD accepts for a condition's reason (facts §5).
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
