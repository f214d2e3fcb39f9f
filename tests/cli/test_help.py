"""`fairlead help`: every reason is explained, without an agent."""

import pytest

from agent.cli import main
from agent.core.reasons import REGISTRY, Reason


@pytest.mark.parametrize("reason", [reason.value for reason in Reason])
def test_each_reason_is_explained(capsys: pytest.CaptureFixture[str], reason: str) -> None:
    assert main.main(["help", reason.lower()]) == 0
    text, entry = capsys.readouterr().out, REGISTRY[Reason(reason)]
    assert text.startswith(f"{reason} ({entry.severity.value}): {entry.text}\n") and entry.remedy in text


def test_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["help"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == sorted(reason.value for reason in Reason)


@pytest.mark.parametrize(("text", "said"), [("ProxyStoped", "did you mean ProxyStopped?"), ("x", "list them")])
def test_an_unknown_one_is_a_wrong_command_line(capsys: pytest.CaptureFixture[str], text: str, said: str) -> None:
    assert main.main(["help", text]) == 2
    assert said in capsys.readouterr().err
