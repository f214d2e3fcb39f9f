"""SPIFFE IDs against the standard's rules: what it allows is parsed to its parts, what it forbids is refused."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.spiffe import MOST, MOST_TRUST_DOMAIN, SpiffeId, parse

DOMAIN_LETTERS = string.ascii_lowercase + string.digits + ".-_"
PATH_LETTERS = string.ascii_letters + string.digits + ".-_"

domains = st.text(DOMAIN_LETTERS, min_size=1, max_size=MOST_TRUST_DOMAIN)
segments = st.text(PATH_LETTERS, min_size=1, max_size=40).filter(lambda text: text not in (".", ".."))
paths = st.lists(segments, max_size=8).map(lambda parts: "".join(f"/{part}" for part in parts))


@given(domains, paths)
def test_svid_id_what_the_standard_allows_is_parsed_to_its_parts(domain: str, path: str) -> None:
    assert parse(f"spiffe://{domain}{path}") == SpiffeId(domain, path)
    assert str(parse(f"spiffe://{domain}{path}")) == f"spiffe://{domain}{path}"


@given(domains, paths, st.characters(codec="utf-8").filter(lambda c: c not in PATH_LETTERS + "/"), st.data())
def test_svid_id_any_other_character_is_refused_wherever_it_stands(
    domain: str, path: str, odd: str, data: st.DataObject
) -> None:
    text = domain + path
    at = data.draw(st.integers(0, len(text)))
    with pytest.raises(ValueError, match="letters"):
        parse(f"spiffe://{text[:at]}{odd}{text[at:]}")


@given(domains, st.lists(segments, min_size=1, max_size=4), st.sampled_from(["", ".", ".."]), st.data())
def test_svid_id_no_segment_is_empty_or_relative(
    domain: str, parts: list[str], bad: str, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(parts)))
    with pytest.raises(ValueError, match="segment"):
        parse(f"spiffe://{domain}/{'/'.join([*parts[:at], bad, *parts[at:]])}")


@given(st.text(max_size=60))
def test_svid_id_whatever_is_parsed_is_canonical_and_the_rest_is_explained(text: str) -> None:
    try:
        assert str(parse(text)) == text
    except ValueError as error:
        assert str(error).startswith("it")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "begin with spiffe://"),
        ("https://example.org/a", "begin with spiffe://"),
        (
            "SPIFFE://example.org/a",
            "begin with spiffe://",
        ),  # allowed to be written so, and never equal to Linkerd's
        ("spiffe:///a", "trust domain"),
        ("spiffe://Example.org/a", "trust domain"),
        ("spiffe://user@example.org/a", "trust domain"),
        ("spiffe://example.org:80/a", "trust domain"),
        ("spiffe://example.org/a?b", "path"),
        ("spiffe://example.org/a#b", "path"),
        ("spiffe://example.org/a%20b", "path"),
        ("spiffe://example.org/", "ends with /"),
        ("spiffe://example.org/a/", "ends with /"),
        ("spiffe://example.org/a\n", "path"),
        ("spiffe://example.org\n", "trust domain"),
    ],
)
def test_svid_id_broken_rules_are_named(text: str, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        parse(text)


@pytest.mark.parametrize(("length", "good"), [(MOST_TRUST_DOMAIN, True), (MOST_TRUST_DOMAIN + 1, False)])
def test_svid_id_a_trust_domain_has_at_most_255_bytes(length: int, good: bool) -> None:
    if good:
        assert parse(f"spiffe://{'a' * length}/x").trust_domain == "a" * length
    else:
        with pytest.raises(ValueError, match="255"):
            parse(f"spiffe://{'a' * length}/x")


@pytest.mark.parametrize(("length", "good"), [(MOST, True), (MOST + 1, False)])
def test_svid_id_it_has_at_most_2048_bytes(length: int, good: bool) -> None:
    text = "spiffe://example.org/"
    text += "a" * (length - len(text))
    if good:
        assert str(parse(text)) == text
    else:
        with pytest.raises(ValueError, match="2048"):
            parse(text)
