"""The stream of SVIDs when its server misbehaves: what the adapter makes of it, and the loop above it.

Every fault is injected by a server that speaks gRPC as it should, or by one that cuts it off in the middle.
"""

import asyncio
import dataclasses
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from spiffe import WorkloadApiClient
from spiffe._proto import workload_pb2 as proto

from agent.adapters.spire import SpireWorkloadApi, fetch_once
from agent.core import identity
from agent.core.facts import IdentityFact, Svid
from agent.core.reasons import Fault, Reason
from agent.host import serving
from agent.loops.identity import IdentityLoop
from agent.ports import Trouble
from agent.sandbox.identity.ca import Authority, SvidMaterial
from agent.sandbox.identity.workload_api import Entry, WorkloadApiServer
from tests.contract.workload_worlds import DOMAIN, ID, SECOND, folder_for_all, nothing_left
from tests.loops.running import running

ME = os.geteuid()
WITHIN = 30.0


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_for_all() as folder:
        yield folder


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority(DOMAIN)


def message(authority: Authority, spiffe_id: str = ID, **changes: Any) -> proto.X509SVID:
    made = authority.svid(spiffe_id, 600)
    svid = proto.X509SVID(
        spiffe_id=spiffe_id,
        x509_svid=made.cert_chain_der,
        x509_svid_key=made.key_pkcs8_der,
        bundle=authority.der,
    )
    for name, value in changes.items():
        setattr(svid, name, value)
    return svid


Script = Sequence[bytes | grpc.StatusCode | None]


@asynccontextmanager
async def saying(path: Path, script: Script) -> AsyncIterator[None]:
    """A Workload API that sends these bytes to every client, then ends with a code, or (None) hangs."""

    calls: set[asyncio.Task[Any]] = set()

    async def answer(request: bytes, context: Any) -> AsyncIterator[bytes]:
        call = asyncio.current_task()
        assert call is not None
        calls.add(call)
        for word in script:
            match word:
                case None:
                    await asyncio.Event().wait()
                case grpc.StatusCode():
                    await context.abort(word, "as the script has it")
                case bytes():
                    yield word

    behaviour: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_stream_rpc_method_handler(answer)
    handlers = {"FetchX509SVID": behaviour}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("SpiffeWorkloadAPI", handlers),))
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)  # cancels the calls, and does not wait for them
        await asyncio.gather(*calls, return_exceptions=True)


def response(*svids: proto.X509SVID) -> bytes:
    return bytes(proto.X509SVIDResponse(svids=svids).SerializeToString())


async def trouble(path: Path) -> Trouble:
    with pytest.raises(Trouble) as caught:
        await fetch_once(str(path), WITHIN)
    return caught.value


# one answer -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, Reason.WORKLOAD_API_DENIED),
        (grpc.StatusCode.INVALID_ARGUMENT, Reason.WORKLOAD_API_INVALID),
        (grpc.StatusCode.UNAVAILABLE, Reason.WORKLOAD_API_FAILED),
        (grpc.StatusCode.INTERNAL, Reason.WORKLOAD_API_FAILED),
    ],
)
async def test_each_code_has_its_reason_and_the_servers_own_words(
    folder: Path, code: grpc.StatusCode, reason: Reason
) -> None:
    async with nothing_left(), saying(folder / "s", [code]):
        found = await trouble(folder / "s")
    assert (found.reason, found.detail) == (reason, f"{code.name}: as the script has it")


async def test_an_answer_without_any_svid_is_trouble(folder: Path) -> None:
    async with nothing_left(), saying(folder / "s", [response(), None]):
        assert (await trouble(folder / "s")).detail == "an answer without any SVID"


async def test_a_stream_that_ends_well_and_early_is_trouble(folder: Path, authority: Authority) -> None:
    async with nothing_left(), saying(folder / "s", []):
        assert (await trouble(folder / "s")).reason is Reason.WORKLOAD_API_FAILED
    async with (
        nothing_left(),
        saying(folder / "s", [response(message(authority))]),
        aclosing(SpireWorkloadApi(str(folder / "s"), WITHIN).watch()) as updates,
    ):
        assert [svid.spiffe_id for svid in await anext(updates)] == [ID]
        with pytest.raises(Trouble, match="the stream has ended"):
            await anext(updates)


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.99])
async def test_half_a_message_is_trouble(folder: Path, authority: Authority, cut: float) -> None:
    whole = response(message(authority))
    async with nothing_left(), saying(folder / "s", [whole[: int(len(whole) * cut)], None]):
        assert (await trouble(folder / "s")).reason is Reason.WORKLOAD_API_FAILED


GARBAGE = [b"", b"no certificate", b"\x30\x82", b"\x30\x03\x02\x01\x01"]


@pytest.mark.parametrize("part", ["x509_svid", "x509_svid_key"])
@pytest.mark.parametrize("garbage", GARBAGE)
async def test_garbage_in_one_svid_hides_no_other(
    folder: Path, authority: Authority, part: str, garbage: bytes
) -> None:
    broken = message(authority, SECOND, **{part: garbage})
    async with nothing_left(), saying(folder / "s", [response(broken, message(authority)), None]):
        svids = await fetch_once(str(folder / "s"), WITHIN)
    mine, other = identity.choose(svids, ID), identity.choose(svids, SECOND)
    assert isinstance(mine, Svid) and mine.flaw == ""
    assert isinstance(other, Fault) and other.reason is Reason.IDENTITY_MALFORMED


async def test_a_key_that_does_not_match_is_named(folder: Path, authority: Authority) -> None:
    foreign = message(authority, x509_svid_key=authority.svid(ID, 60).key_pkcs8_der)
    async with nothing_left(), saying(folder / "s", [response(foreign), None]):
        found = identity.choose(await fetch_once(str(folder / "s"), WITHIN), ID)
    detail = f"{ID}: its key does not belong to its certificate"
    assert found == Fault(Reason.IDENTITY_MALFORMED, detail)


async def test_the_certificates_own_id_counts_and_not_what_is_said_of_it(
    folder: Path, authority: Authority
) -> None:
    lying = message(authority, SECOND)
    lying.spiffe_id = ID
    async with nothing_left(), saying(folder / "s", [response(lying), None]):
        (svid,) = await fetch_once(str(folder / "s"), WITHIN)
    assert (svid.spiffe_id, svid.flaw) == (SECOND, f"its certificate is for {SECOND}")


@pytest.mark.parametrize("bundle", GARBAGE)
async def test_a_bundle_that_cannot_be_read_is_no_reason_to_refuse_the_svid(
    folder: Path, authority: Authority, bundle: bytes
) -> None:
    async with nothing_left(), saying(folder / "s", [response(message(authority, bundle=bundle)), None]):
        (svid,) = await fetch_once(str(folder / "s"), WITHIN)
    assert (svid.flaw, svid.bundle) == ("", ())


async def test_the_svid_comes_with_its_chain_bundle_and_hint(folder: Path, authority: Authority) -> None:
    entries = {ME: (Entry(ID, hint="internal"), Entry(SECOND, hint="external"))}
    far = {f"far.{DOMAIN}": Authority(f"far.{DOMAIN}").der}
    async with nothing_left(), WorkloadApiServer(folder / "s", authority, entries, federated=far):
        first, second = await fetch_once(str(folder / "s"), WITHIN)
    assert (first.hint, second.hint) == ("internal", "external")
    assert first.bundle == (authority.der,), "its own trust domain's alone"
    assert len(first.chain) == 1 and first.fingerprint != second.fingerprint


async def test_no_key_is_in_what_is_kept(folder: Path, authority: Authority) -> None:
    svid = message(authority)
    async with nothing_left(), saying(folder / "s", [response(svid), None]):
        (kept,) = await fetch_once(str(folder / "s"), WITHIN)
    assert svid.x509_svid_key not in b"".join((*kept.chain, *kept.bundle, repr(kept).encode()))


async def test_the_spiffe_projects_own_python_client_reads_the_embedded_server_too(
    folder: Path, authority: Authority
) -> None:
    entries = {ME: (Entry(ID), Entry(SECOND))}
    async with WorkloadApiServer(folder / "s", authority, entries, federated={"far": Authority("far").der}):
        with WorkloadApiClient(f"unix:{folder / 's'}") as client:
            context = await asyncio.to_thread(client.fetch_x509_context, WITHIN)
    assert [str(svid.spiffe_id) for svid in context.x509_svids] == [ID, SECOND]
    assert {str(bundle.trust_domain) for bundle in context.x509_bundle_set.bundles} == {DOMAIN, "far"}


# the connection -------------------------------------------------------------------------------------


@asynccontextmanager
async def cutting(path: Path, inner: Path, let_through: int) -> AsyncIterator[None]:
    """Relays to `inner`, and cuts each connection after so many bytes from there. gRPC may come more than once."""
    relays: set[asyncio.Task[None]] = set()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(inner)
        upward = asyncio.create_task(pump(reader, inner_writer))
        rest = let_through
        try:
            while rest > 0 and (data := await inner_reader.read(rest)):
                writer.write(data)
                rest -= len(data)
        finally:
            upward.cancel()
            for end in (writer, inner_writer):
                end.close()
            await asyncio.gather(upward, return_exceptions=True)

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relays.add(asyncio.create_task(relay(reader, writer)))

    async with serving.closing(await asyncio.start_unix_server(accept, path)):
        try:
            yield
        finally:
            for task in relays:
                task.cancel()
            await asyncio.gather(*relays, return_exceptions=True)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)


@pytest.mark.parametrize("let_through", [0, 9, 100, 400])
async def test_a_connection_that_is_cut_in_the_middle_of_an_answer(
    folder: Path, authority: Authority, let_through: int
) -> None:
    """`let_through`: bytes from the server, of about 900."""
    async with (
        nothing_left(),
        WorkloadApiServer(folder / "inner", authority, {ME: (Entry(ID),)}),
        cutting(folder / "s", folder / "inner", let_through),
    ):
        assert (await trouble(folder / "s")).reason is Reason.WORKLOAD_API_FAILED


async def test_a_server_that_hangs_in_the_middle_of_a_stream_takes_nothing_away(
    folder: Path, authority: Authority
) -> None:
    async with (
        saying(folder / "s", [response(message(authority)), None]),
        followed(SpireWorkloadApi(str(folder / "s"), WITHIN)) as facts,
    ):
        fact = await facts.until(lambda fact: fact.svid is not None)
    assert fact.fault is None


class Facts:
    """What a loop publishes, waited for."""

    def __init__(self) -> None:
        self.all: list[IdentityFact] = []
        self._news = asyncio.Event()

    def publish(self, fact: IdentityFact) -> None:
        self.all.append(fact)
        self._news.set()

    async def until(self, good: Callable[[IdentityFact], bool], within: float = WITHIN) -> IdentityFact:
        async with asyncio.timeout(within):
            while not (self.all and good(self.all[-1])):
                self._news.clear()
                await self._news.wait()
        return self.all[-1]


@asynccontextmanager
async def followed(api: SpireWorkloadApi) -> AsyncIterator[Facts]:
    facts = Facts()
    async with running(IdentityLoop(api, ID, facts.publish, time.time, lambda: 0.0).run()):
        yield facts


def faulty(reason: Reason) -> Callable[[IdentityFact], bool]:
    return lambda fact: fact.fault is not None and fact.fault.reason is reason


def well(fact: IdentityFact) -> bool:
    return fact.svid is not None and fact.fault is None


async def test_a_path_that_goes_from_nothing_to_a_socket_and_back(folder: Path, authority: Authority) -> None:
    """No directory, then an empty one, then a dead socket, then a server; then all of it again."""
    path = folder / "later" / "agent.sock"
    server = WorkloadApiServer(path, authority, {ME: (Entry(ID),)})
    async with nothing_left(), followed(SpireWorkloadApi(str(path))) as facts:
        await facts.until(faulty(Reason.WORKLOAD_API_ABSENT))
        path.parent.mkdir()
        left_over = await asyncio.start_unix_server(lambda reader, writer: writer.close(), path)
        left_over.close()
        await left_over.wait_closed()
        await facts.until(faulty(Reason.WORKLOAD_API_REFUSED))
        for _ in range(2):
            async with server:
                await facts.until(well)
            gone = await facts.until(faulty(Reason.WORKLOAD_API_ABSENT))
            assert gone.svid is not None, "it is valid still"


async def test_an_entry_that_comes_goes_and_comes_back(folder: Path, authority: Authority) -> None:
    async with (
        WorkloadApiServer(folder / "s", authority) as server,
        followed(SpireWorkloadApi(str(folder / "s"))) as facts,
    ):
        await facts.until(faulty(Reason.WORKLOAD_API_DENIED))
        server.register(ME, Entry(ID))
        await facts.until(well)
        server.register(ME)
        assert (await facts.until(faulty(Reason.WORKLOAD_API_DENIED))).svid is not None
        server.register(ME, Entry(SECOND), Entry(ID))
        await facts.until(well)


class Scribbler(Authority):
    """Issues SVIDs of which one part is garbage, when told to."""

    garbage: dict[str, bytes] | None = None

    def svid(self, *args: Any, **kwargs: Any) -> SvidMaterial:
        return dataclasses.replace(super().svid(*args, **kwargs), **(self.garbage or {}))  # type: ignore[arg-type]


async def test_a_rotation_to_garbage_takes_no_svid_away(folder: Path) -> None:
    authority = Scribbler(DOMAIN)
    async with (
        WorkloadApiServer(folder / "s", authority, {ME: (Entry(ID),)}) as server,
        followed(SpireWorkloadApi(str(folder / "s"))) as facts,
    ):
        before = await facts.until(well)
        authority.garbage = {"cert_chain_der": b"\x30\x82"}
        server.rotate()
        broken = await facts.until(faulty(Reason.IDENTITY_MALFORMED))
        assert (broken.svid, broken.expires_at) == (before.svid, before.expires_at)
        authority.garbage = None
        server.rotate()
        assert (await facts.until(well)).updates == before.updates + 1


async def test_rotations_in_real_time_come_before_the_margin(folder: Path, authority: Authority) -> None:
    """An SVID of 2 s is replaced each second; never is one left with less than its margin."""
    loop = asyncio.get_running_loop()
    server = WorkloadApiServer(folder / "s", authority, {ME: (Entry(ID),)}, ttl=2)
    async with server, followed(SpireWorkloadApi(str(folder / "s"))) as facts:
        for number in range(1, 7):
            fact = await facts.until(lambda fact, number=number: fact.updates >= number)  # type: ignore[misc]
            assert loop.time() < fact.expires_at - identity.margin(fact.expires_at - fact.received_at)
    assert {fact.fault for fact in facts.all} == {None}
