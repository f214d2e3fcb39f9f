"""The privileged helper's verbs are a closed set: everything else is refused before anything is done."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.privileged.helper.request import LIMIT, BadRequest, Request, parse
from agent.privileged.helper.verbs import VERBS


def line(**fields: object) -> bytes:
    return json.dumps(fields).encode() + b"\n"


@pytest.mark.parametrize(
    "words",
    [
        {"verb": "redirect check"},
        {"verb": "redirect remove"},
        {"verb": "redirect set", "inbound": "on", "outbound": "block"},
        {"verb": "redirect set", "inbound": "block", "outbound": "on", "judged": "12.345678"},
        {"verb": "redirect set", "inbound": "off", "outbound": "released"},
        {"verb": "redirect apply", "confirm": "5"},
        {"verb": "redirect apply", "confirm": "3600"},
        {"verb": "redirect apply", "confirm": "none"},
        {"verb": "redirect remove", "now": "yes"},
        {"verb": "redirect block", "direction": "both"},
        {"verb": "phase set", "phase": "left"},
        {"verb": "ready record"},
        {"verb": "probe run", "probe": "db"},
        {"verb": "proxy check"},
        {"verb": "proxy check", "version": "2.366.0"},
        {"verb": "probe stop", "probe": "a.b-c_D9"},
    ],
)
def test_a_request(words: dict[str, str]) -> None:
    verb = words["verb"]
    assert parse(line(**words)) == Request(verb, {key: value for key, value in words.items() if key != "verb"})


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n",
        b"null\n",
        b"[]\n",
        b'"redirect check"\n',
        b"\xff\xfe\n",
        b"[" * 4000 + b"\n",
        b'{"verb": "redirect check"}',
        b'{"verb": "redirect check", "verb": "redirect remove"}\n',
        line(),
        line(verb="redirect"),
        line(verb="Redirect Check"),
        line(verb=["redirect check"]),
        line(verb="redirect check", prefix="/tmp"),
        line(verb="redirect check", inbound="on"),
        line(verb="redirect apply"),
        line(verb="redirect set"),
        line(verb="redirect set", confirm="none"),
        line(verb="redirect apply", inbound="on", outbound="on"),
        line(verb="redirect set", inbound="on"),
        line(verb="redirect set", inbound="on", outbound="on", ports=[22]),
        line(verb="redirect set", inbound="partial", outbound="on"),
        line(verb="redirect set", inbound="hold", outbound="on"),
        line(verb="redirect set", inbound=True, outbound="on"),
        line(verb="redirect set", inbound=["on"], outbound="on"),
        line(verb="redirect set", inbound=None, outbound="on"),
        line(verb="redirect set", inbound="on", outbound="on", confirm="60"),
        line(verb="redirect set", inbound="on", outbound="on", judged="-1.000000"),
        line(verb="redirect set", inbound="on", outbound="on", judged="1e9"),
        *(line(verb="redirect apply", confirm=value) for value in ("4", "3601", "05", "5.0", "-5", "", 5, "٥")),
        line(verb="redirect remove", now="no"),
        line(verb="redirect confirm", confirm="60"),
        line(verb="redirect block", direction="eth0"),
        line(verb="phase set", phase="shutting-down"),
        line(verb="phase set", phase="../../etc/passwd"),
        *(
            line(verb="probe run", probe=value)
            for value in ("", "../x", "a@b", "a b", "a\n", "x" * 64, "ä", 1, None)
        ),
        line(verb="probe run"),
        line(verb="probe run", probe="db", unit="ssh.service"),
        line(verb="x" * LIMIT),
    ],
)
def test_no_request(text: bytes) -> None:
    with pytest.raises(BadRequest):
        parse(text)


@given(st.binary(max_size=LIMIT * 2))
def test_any_bytes_are_a_request_or_refused_in_one_way(text: bytes) -> None:
    with suppress(BadRequest):
        assert parse(text).verb in VERBS


_words = st.sampled_from(
    [
        "on",
        "off",
        "block",
        "partial",
        "member",
        "inbound",
        "outbound",
        "phase",
        "confirm",
        "5",
        "now",
        "yes",
        "both",
    ]
)
_values = st.one_of(_words, st.none(), st.integers(), st.booleans(), st.lists(_words), st.text())
_fields = st.dictionaries(st.one_of(_words, st.text()), _values)


@given(st.one_of(st.sampled_from(sorted(VERBS)), st.text()), _fields)
def test_what_looks_like_a_request_is_one_exactly_when_every_word_is_known(
    verb: str, fields: dict[str, object]
) -> None:
    expected = VERBS.get(verb)
    good = any(
        fields.keys() == words.keys() and all(fields[key] in allowed for key, allowed in words.items())
        for words in (expected.words if expected else ())
    )
    try:
        request = parse(line(**{**fields, "verb": verb}))
    except BadRequest:
        assert not good
    else:
        assert good
        assert request == Request(verb, fields)  # type: ignore[arg-type]
