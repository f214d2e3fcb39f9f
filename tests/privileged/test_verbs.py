"""Any requests in any order, on a fake kernel: each ends in an answer or a refusal."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.adapters import helper
from agent.core import prepared
from agent.core.facts import Level
from agent.core.redirect import Action, Ruleset, levels
from agent.core.redirect.timed import Live, Trial
from agent.loops import redirect
from agent.privileged import DEADLINE, SETS, Refusal
from agent.privileged.helper.parameters import NO_TRIAL
from agent.privileged.helper.request import Request
from agent.privileged.helper.verbs import VERBS, Who
from agent.privileged.redirect import specification as policy
from agent.privileged.redirect.packets import Findings
from agent.proxyunit import proof
from tests.privileged.hosts import files

# These are of the real kernel and the real systemd alone.
UNITS = {f"proxy {word}" for word in ("start", "stop", "term", "kill", "reset-failed", "logs")}
LEFT_OUT = UNITS | {"redirect watch", "probe run", "probe stop"}


LIVE = ("read", "by", "replace", "put_on_trial", "carry_on")


def test_who_asks_waits_longer_than_the_request_may_take() -> None:
    """By a look a fact has its first value within 5 s. What sets rules may take longer, and no caller gives it up
    while it goes on. A hook waits for one that holds the lock, and has its own time then."""
    looks = {"redirect check", "redirect firewall", "redirect counters", "redirect watch"}
    assert {VERBS[verb].deadline for verb in looks} == {DEADLINE}
    assert DEADLINE < helper.WITHIN < redirect.WITHIN < 5
    setting = {verb for verb in VERBS if verb.startswith("redirect ")} - looks - {"redirect accept-greetings"}
    assert {VERBS[verb].deadline for verb in setting} == {SETS}
    assert 2 * DEADLINE <= SETS < helper.SETS_WITHIN < redirect.SETS_WITHIN
    assert SETS + DEADLINE < proof.WITHIN


class Kernel:
    def __init__(self) -> None:
        self.live = Live(None)
        self.listeners = True

    def read(self, prefix: Path) -> Live:
        return self.live

    def by(self, source: Path) -> Live:
        return self.live

    def replace(self, prefix: Path, rules: Ruleset | None) -> None:
        self.live = Live(rules)

    def put_on_trial(self, prefix: Path, new: Ruleset, before: Ruleset, seconds: int) -> None:
        self.live = Live(new, Trial(new, before, seconds))

    def carry_on(self, prefix: Path, found: Live, new: Ruleset, before: Ruleset) -> None:
        assert found.trial is not None and found.trial.left is not None
        self.put_on_trial(prefix, new, before, found.trial.left)

    def time_is_over(self) -> None:
        if self.live.trial is not None:
            self.live = Live(self.live.trial.before, Trial(self.live.trial.new, self.live.trial.before, None))

    def must_be_the_proxys(self, spec: object) -> None:
        if not self.listeners:
            raise Refusal("nobody listens")

    def must_hold(self, spec: object, pages: object, policy: str = "") -> bool:
        """It is ready and was answered, or neither."""
        if not self.listeners:
            raise Refusal("nobody listens")
        return True


@contextmanager
def host() -> Iterator[tuple[Path, Kernel]]:
    kernel = Kernel()
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory())
        for module, stand_ins in (
            ("redirect.live_rules", {name: getattr(kernel, name) for name in LIVE}),
            (
                "system.listeners",
                {
                    "streams": lambda spec: 0,
                    "may_dial": lambda uid: kernel.listeners,
                    "must_be_the_proxys": kernel.must_be_the_proxys,
                },
            ),
            ("proxy.readiness", {"must_hold": kernel.must_hold, "ask": lambda admin: None}),
            ("system.sshd", {"ports": frozenset}),
            ("redirect.packets", {"opened": lambda spec, ssh: nullcontext(Findings(""))}),
            ("redirect.guide_chains", {"chains": tuple, "remove": lambda: None}),
            ("redirect.counters", {"read": lambda prefix: []}),
        ):
            stack.enter_context(mock.patch.multiple(f"agent.privileged.{module}", **stand_ins))
        Path(folder).chmod(0o755)
        files(Path(folder))
        yield Path(folder), kernel


def requests() -> st.SearchStrategy[Request]:
    shapes = [(verb, words) for verb, row in VERBS.items() if verb not in LEFT_OUT for words in row.words]
    few = {"confirm": [NO_TRIAL, "5", "3600"]}

    def build(shape: tuple[str, object]) -> st.SearchStrategy[Request]:
        verb, words = shape
        assert isinstance(words, dict)
        values = {key: st.sampled_from(few.get(key, sorted(choice))) for key, choice in words.items()}
        return st.fixed_dictionaries(values).map(lambda found: Request(verb, found))

    return st.sampled_from(shapes).flatmap(build)


events = st.sampled_from(["time is over", "flush", "proxy dies", "proxy is there"])


def happen(kernel: Kernel, event: str) -> None:
    match event:
        case "time is over":
            kernel.time_is_over()
        case "flush":
            kernel.live = Live(None)
        case _:
            kernel.listeners = event == "proxy is there"


def touched(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


KNOWN = {
    "etc/fairlead/fairlead.toml",
    "run/fairlead-helper.lock",
    *(f"run/fairlead-prepared/{name}" for name in (prepared.PLAN, *prepared.SCRIPTS)),
    "var/lib/fairlead/phase",
    "var/lib/fairlead/ready-once",
    "var/lib/fairlead/redirected-ports",
    "var/lib/fairlead/redirect-suspended",
    "var/lib/fairlead/approved/etc/fairlead/fairlead.toml",
    "var/lib/fairlead/tried/etc/fairlead/fairlead.toml",
}


@given(st.lists(st.one_of(requests(), events), max_size=12))
@settings(max_examples=150, deadline=None)
def test_any_requests_in_any_order(steps: list[Request | str]) -> None:
    with host() as (prefix, kernel):
        spec = policy.spec(prefix)
        for step in steps:
            if isinstance(step, str):
                happen(kernel, step)
                continue
            before = levels(spec, kernel.live.rules)
            try:
                answer = step.carry_out(prefix)
            except Refusal:
                assert levels(spec, kernel.live.rules) == before
            else:
                shown = levels(spec, kernel.live.rules)
                if step.verb.startswith("redirect ") and step.verb not in (
                    "redirect counters",
                    "redirect firewall",
                    "redirect accept-greetings",
                ):
                    assert (answer["inbound"], answer["outbound"]) == (shown[0].value, shown[1].value)
            assert touched(prefix) <= KNOWN
            assert only_ours(kernel.live.rules)


def only_ours(rules: Ruleset | None) -> bool:
    """For any request: only what root's configuration names is redirected or refused, with its guard."""
    hits = [
        rule
        for chain in (rules.chains if rules else ())
        for rule in chain.rules
        if rule.action in (Action.REDIRECT, Action.RESET) and chain.name != "guard" and chain.hook == "prerouting"
    ]
    return all(rule.match.ports == {8080} for rule in hits)


@given(st.lists(requests().filter(lambda request: request.row.who is not Who.ROOT), max_size=8))
@settings(max_examples=100, deadline=None)
def test_the_agent_never_ends_a_suspension(steps: list[Request]) -> None:
    with host() as (prefix, kernel):
        Request("redirect apply", {"confirm": "60"}).carry_out(prefix)
        kernel.time_is_over()
        spec = policy.spec(prefix)
        for step in steps:
            with suppress(Refusal):
                step.carry_out(prefix)
            assert Level.ON not in levels(spec, kernel.live.rules)


@given(st.lists(requests().filter(lambda request: request.row.who is not Who.ROOT), max_size=8))
@settings(max_examples=50, deadline=None)
def test_whatever_the_agent_asks_what_is_on_trial_is_gone_when_its_time_is_over(steps: list[Request]) -> None:
    with host() as (prefix, kernel):
        Request("redirect apply", {"confirm": "60"}).carry_out(prefix)
        spec = policy.spec(prefix)
        for step in steps:
            with suppress(Refusal):
                step.carry_out(prefix)
        kernel.time_is_over()
        assert Level.ON not in levels(spec, kernel.live.rules)
