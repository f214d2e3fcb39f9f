"""Answers of web servers that kubelet's probe passes, fails or follows, each as it is sent: so does ours."""

import asyncio
import re
from pathlib import Path

import pytest
import yarl
from hypothesis import given
from hypothesis import strategies as st

from agent.adapters.probes import HostProber, web
from agent.core.probe import Attempt, ProbeSpec
from tests.contract.probe_servers import Serve, resets, saying, server

CASES = Path(__file__).parent.parent / "cases" / "probes.txt"
OK = "HTTP/1.1 200 OK\r\n"
EMPTY = "Content-Length: 0\r\n\r\n"


def passed() -> dict[str, str]:
    """Name → the raw answer."""
    lines = [line.split(" : ", 1) for line in CASES.read_text().splitlines()]
    found = {name.strip(): text.split("   ")[0].replace("\\r\\n", "\r\n") for name, text in lines}
    found["long header"] = found["long header"].replace("<8200 x a>", "a" * 8200)
    found["many headers"] = OK + "".join(f"X-{number}: v\r\n" for number in range(200)) + EMPTY
    return found


async def attempt(*answers: str | Serve) -> Attempt:
    serve = answers[0] if callable(answers[0]) else saying(*map(str, answers))
    async with server(serve) as port:
        return await HostProber().attempt(ProbeSpec("p", "http", "127.0.0.1", port, timeout=2))


@pytest.mark.parametrize("name", passed())
async def test_cases_that_kubelet_passes(name: str) -> None:
    answer = passed()[name]
    assert answer.startswith("HTTP/1.1 ") and len(answer) > 40
    assert await attempt(answer) == Attempt(True, f"HTTP {answer[9:12]}")


LENIENT = {
    "no reason": "HTTP/1.1 200\r\n" + EMPTY,
    "two spaces": "HTTP/1.1  200 OK\r\n" + EMPTY,
    "line feeds": "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "space in a name": OK + "X Y: a\r\n folded on\r\n" + EMPTY,
    "space before a colon": OK + "X : a\r\n" + EMPTY,
    "an empty length": OK + "Content-Length: \r\n\r\nok",
    "folded": OK + "X: a\r\n  b\r\n" + EMPTY,
    "Latin-1": OK + "X: caf\xe9\r\n" + EMPTY,
    "early hints": "HTTP/1.1 103 Early Hints\r\nX : a\r\n\r\n" + OK + "Y : b\r\n" + EMPTY,
    "HTTP/1.0, to the end": "HTTP/1.0 200 OK\r\n\r\nhello",
    "chunked by HTTP/1.0": "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "100 kB": OK + f"X: {'a' * 100_000}\r\n" + EMPTY,
}


@pytest.mark.parametrize("name", LENIENT)
async def test_cases_that_go_reads_past(name: str) -> None:
    assert await attempt(LENIENT[name]) == Attempt(True, "HTTP 200")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("SSH-2.0-OpenSSH_9.2\r\n", "not HTTP/1: b'SSH-2.0-OpenSSH_9.2"),
        ("", "closed the connection without an answer"),
        ("\x15\x03\x01\x00\x02\x02\x46", 'scheme = "https"'),
        (OK + "no colon\r\n\r\n", "the head of its answer is broken"),
        (OK + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nok", "conflicting Content-Length"),
        (OK + "Content-Length: 10\r\n\r\nok", "HTTP 200, and then a body that is broken"),
        (OK + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP 200, and then a body that is broken"),
        ("HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "the head of its answer"),
    ],
)
async def test_what_is_no_answer_says_what_came_and_from_where(answer: str, said: str) -> None:
    found = await attempt(answer.encode("latin-1").decode("latin-1"))
    assert found.ok is False and said in found.detail
    assert re.fullmatch(r"127\.0\.0\.1 port \d+: (?!.*400).*", found.detail, re.DOTALL)


async def test_a_connection_that_is_reset_is_said_to_be() -> None:
    found = await attempt(resets)
    assert found.ok is False and re.fullmatch(r"127\.0\.0\.1 port \d+: .+", found.detail)


async def test_a_server_that_answers_before_it_has_read_and_closes_is_heard() -> None:
    """Its kernel resets the connection, for what it has not read."""

    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((OK + EMPTY).encode())
        writer.close()

    assert await attempt(early) == Attempt(True, "HTTP 200")


async def test_endless_small_headers_end_soon() -> None:
    async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK.encode())
        while True:
            writer.write(b"X: " + b" " * 1000 + b"\r\n")
            await writer.drain()

    found = await attempt(drips)
    assert found.ok is False and "the head of its answer is broken" in found.detail


# redirects ------------------------------------------------------------------------------------------


def to(location: str, status: str = "302 Found", body: str = "Content-Length: 0\r\n\r\n") -> str:
    return f"HTTP/1.1 {status}\r\nLocation: {location}\r\n{body}"


@pytest.mark.parametrize(
    "location",
    ["https://login.example/", "ftp://192.0.2.1/", "mailto:a@b", "javascript:void(0)", "http://127.0.0.2/"],
)
async def test_a_redirect_to_elsewhere_is_an_answer(location: str) -> None:
    assert await attempt(to(location)) == Attempt(True, "HTTP 302 to another host, which is not asked")


@pytest.mark.parametrize("status", ["300 Choices", "304 Not Modified", "305 Proxy"])
async def test_what_is_no_redirect_is_not_followed(status: str) -> None:
    assert await attempt(to("/next", status)) == Attempt(True, f"HTTP {status[:3]}")


async def test_a_redirect_without_a_place_is_an_answer() -> None:
    assert await attempt(to("")) == Attempt(True, "HTTP 302")


async def test_the_body_of_a_redirect_need_not_be_whole() -> None:
    found = await attempt(to("/next", body="Content-Length: 9\r\n\r\nx"), "HTTP/1.1 503 No\r\n" + EMPTY)
    assert found.ok is False and re.fullmatch(r"HTTP 503 from http://127\.0\.0\.1:\d+/next", found.detail)


async def asked(path: str, location: str = "", **headers: str) -> list[list[str]]:
    """The heads of the requests that arrive."""
    seen: list[list[str]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n"))
        writer.write((to(location) if location and len(seen) == 1 else OK + EMPTY).encode("latin-1"))
        await writer.drain()

    async with server(serve) as port:
        spec = ProbeSpec("p", "http", "127.0.0.1", port, path=path, headers=tuple(headers.items()))
        assert (await HostProber().attempt(spec)).ok
    return seen


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/a b", "/a%20b"),
        ("/caf\xe9", "/caf%E9"),
        ("/%zz", "/%25zz"),
        ("?a=b", "/deep/path?a=b"),
        ("next#part", "/deep/next"),
    ],
)
async def test_the_place_of_a_redirect_is_asked_as_go_asks_it(location: str, target: str) -> None:
    assert (await asked("/deep/path", location))[1][0] == f"GET {target} HTTP/1.1"


async def test_a_path_is_a_path_whatever_it_begins_with() -> None:
    assert (await asked("//192.0.2.1/x?q=%2F#f"))[0][0] == "GET //192.0.2.1/x?q=%2F HTTP/1.1"


async def test_headers_of_framing_are_not_the_configurations_to_set() -> None:
    names = {"Content-Length": "5", "Transfer-Encoding": "chunked", "X-Spaced": "  1  "}
    (lines,) = await asked("/", **names)
    assert "X-Spaced: 1" in lines and not {"Content-Length: 5", "Transfer-Encoding: chunked"} & set(lines)


@given(st.text("/?#%a2;:@&=. \\", max_size=12))
def test_a_path_is_asked_for_as_it_is_written_and_as_yarl_has_it(text: str) -> None:
    """yarl judges the place of a redirect, and is not loaded before one."""
    path = f"/{text}"
    assert web.target(path) == yarl.URL(f"http://host{path}", encoded=True).raw_path_qs
