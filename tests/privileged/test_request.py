"""The door's verbs are a closed set: whatever else comes in is refused before anything is done."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.privileged.request import LIMIT, VERBS, BadRequest, Request, parse


def line(**fields: object) -> bytes:
    return json.dumps(fields).encode() + b"\n"


@pytest.mark.parametrize(
    "words",
    [
        {"verb": "redirect check"},
        {"verb": "redirect remove"},
        {"verb": "redirect apply", "inbound": "on", "outbound": "block"},
        {"verb": "redirect apply", "inbound": "off", "outbound": "released"},
        {"verb": "phase set", "phase": "left"},
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
        line(verb="redirect apply", inbound="on"),
        line(verb="redirect apply", inbound="on", outbound="on", ports=[22]),
        line(verb="redirect apply", inbound="partial", outbound="on"),
        line(verb="redirect apply", inbound="hold", outbound="on"),
        line(verb="redirect apply", inbound=True, outbound="on"),
        line(verb="redirect apply", inbound=["on"], outbound="on"),
        line(verb="redirect apply", inbound=None, outbound="on"),
        line(verb="phase set", phase="shutting-down"),
        line(verb="phase set", phase="../../etc/passwd"),
        line(verb="x" * LIMIT),
    ],
)
def test_no_request(text: bytes) -> None:
    with pytest.raises(BadRequest):
        parse(text)


@given(st.binary(max_size=LIMIT * 2))
def test_any_bytes_are_refused_in_one_way(text: bytes) -> None:
    with pytest.raises(BadRequest):
        parse(text)


_words = st.sampled_from(
    ["on", "off", "block", "released", "partial", "member", "left", "inbound", "outbound", "phase"]
)
_values = st.one_of(_words, st.none(), st.integers(), st.booleans(), st.lists(_words), st.text())
_fields = st.dictionaries(st.one_of(_words, st.text()), _values)


@given(st.one_of(st.sampled_from(sorted(VERBS)), st.text()), _fields)
def test_what_looks_like_a_request_is_one_exactly_when_every_word_is_known(
    verb: str, fields: dict[str, object]
) -> None:
    expected = VERBS.get(verb)
    good = expected is not None and fields.keys() == expected.keys()
    good = good and expected is not None and all(fields[key] in allowed for key, allowed in expected.items())
    try:
        request = parse(line(**{**fields, "verb": verb}))
    except BadRequest:
        assert not good
    else:
        assert good
        assert request == Request(verb, fields)  # type: ignore[arg-type]
