"""Faults as JSON, from a process of another user."""

from typing import Any

from agent.core.reasons import Fault, Reason


def plain(fault: Fault | None) -> Any:
    if fault is None:
        return None
    return {"reason": fault.reason.value, "detail": fault.detail, "remedy": fault.remedy}


def fault(value: Any) -> Fault | None:
    return None if value is None else Fault(Reason(value["reason"]), value["detail"], value["remedy"])
