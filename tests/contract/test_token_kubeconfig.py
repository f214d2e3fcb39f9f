"""A kubeconfig as the credential: certificate, token or a program, before the embedded API server over real
TLS."""

import asyncio
import base64
import json
import random
import ssl
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.adapters.kube import KubeApi
from agent.adapters.kube.kubeconfig import Kubeconfig
from agent.core.reasons import Reason
from agent.ports import Trouble
from agent.sandbox.api.server import ApiServer
from agent.sandbox.identity.ca import Authority
from tests.contract import status_worlds
from tests.contract.status_worlds import COLLECTIONS, WORKLOAD, EmbeddedWorld, HttpWorld
from tests.lab.realparts import ApiServer as RealApiServer

Json = dict[str, Any]
SECRET = "hush-hush"


class Kubectl:
    """A kubeconfig in a folder of its own, and the agent's view through it."""

    def __init__(self, world: HttpWorld, folder: Path) -> None:
        self.world, self.folder, self.path = world, folder, folder / "kubeconfig"
        self.cluster: Json = {"server": world.url, "certificate-authority": "../ca.crt"}
        self.user: Json = {"token": world.host_token}
        self.api = self.client()

    @property
    def server(self) -> ApiServer:
        assert isinstance(self.world, EmbeddedWorld)
        return self.world.server

    def client(self, context: str = "") -> KubeApi:
        self.credential = Kubeconfig(str(self.path), context, time.time, random.random)
        return self.world.client(credential=self.credential)

    def tree(self) -> Json:
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [
                {"name": "here", "context": {"cluster": "c", "user": "u"}},
                {"name": "broken", "context": {"cluster": "c", "user": "nobody"}},
            ],
            "clusters": [{"name": "c", "cluster": self.cluster}],
            "users": [{"name": "u", "user": self.user}],
        }

    def write(self, user: Json | None = None, **cluster: Any) -> None:
        self.user = self.user if user is None else user
        self.cluster |= cluster
        self.path.write_text(yaml.safe_dump(self.tree()))

    def plugin(self, code: str, **more: Any) -> Json:
        """A user by a program: this text, run by Python."""
        program = self.folder / "login"
        program.write_text(f"#!{sys.executable} -I\nimport json, os, sys\n{code}\n")
        program.chmod(0o755)
        version = "client.authentication.k8s.io/v1"
        return {"exec": {"apiVersion": version, "command": "./login", "interactiveMode": "Never", **more}}

    def answer(self, **status: str) -> str:
        """The program's text that gives this."""
        answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
        return f"print({json.dumps(answer)!r})"

    async def reads(self) -> bool:
        return (await self.api.read()).identity == WORKLOAD.identity

    async def trouble(self) -> Trouble:
        with pytest.raises(Trouble) as raised:
            await self.api.read()
        assert SECRET not in str(raised.value) and self.world.host_token not in str(raised.value)
        return raised.value


@pytest.fixture(name="kubectl")
async def fresh_kubectl(tmp_path: Path) -> AsyncIterator[Kubectl]:
    async with status_worlds.embedded(tmp_path) as world:
        await world.create()
        (tmp_path / "etc").mkdir()
        kubectl = Kubectl(world, tmp_path / "etc")
        yield kubectl
        await kubectl.api.close()


def base64_of(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


async def test_a_token_inline_and_files_relative_to_it(kubectl: Kubectl) -> None:
    kubectl.write()
    assert await kubectl.reads()
    assert kubectl.credential.about()["by"] == "token"


async def test_authority_inline_and_a_token_in_a_file_that_is_renewed(kubectl: Kubectl, tmp_path: Path) -> None:
    token = tmp_path / "renewed"
    token.write_text("old")
    data = base64_of(tmp_path / "ca.crt")
    kubectl.write({"tokenFile": "../renewed", "token": "ignored"}, **{"certificate-authority-data": data})
    assert (await kubectl.trouble()).reason is Reason.API_UNAUTHORIZED
    token.write_text(kubectl.world.host_token + "\n")
    assert await kubectl.reads()


async def test_it_is_read_anew_when_it_changes(kubectl: Kubectl) -> None:
    kubectl.write({"token": "wrong"})
    assert (await kubectl.trouble()).reason is Reason.API_UNAUTHORIZED
    kubectl.write({"token": kubectl.world.host_token})
    assert await kubectl.reads()


@pytest.mark.parametrize("inline", [True, False])
async def test_a_client_certificate(kubectl: Kubectl, tmp_path: Path, inline: bool) -> None:
    """Its name is the user's. The key is at no time in a file that has a name."""
    authority, tls = Authority("clients.example"), status_worlds.loaded(tmp_path)
    tls.verify_mode = ssl.CERT_OPTIONAL
    tls.load_verify_locations(cadata=authority.pem)
    await kubectl.server.stop()
    await kubectl.server.start(port=kubectl.server.port, ssl_context=tls)
    made = authority.svid("spiffe://clients.example/vm-1", 300)
    (tmp_path / "c.pem").write_text(made.cert_pem)
    (tmp_path / "k.pem").write_text(made.key_pem)
    files = {"client-certificate": "../c.pem", "client-key": "../k.pem"}
    data = {f"{key}-data": base64_of(kubectl.folder / name) for key, name in files.items()}
    kubectl.write(data if inline else files)
    assert await kubectl.reads()
    assert kubectl.server.requests[-1].user == "fairlead sandbox"
    assert kubectl.credential.about()["by"] == "certificate"


async def test_a_client_certificate_before_the_real_api_server(
    real_apiserver: RealApiServer, tmp_path: Path
) -> None:
    """Its common name is the user, whom the shipped Role is bound to; another authority's is no user."""
    async with status_worlds.real(real_apiserver, tmp_path) as world:
        await world.create()
        group = "rbac.authorization.k8s.io"
        binding = {
            "metadata": {"name": "by-certificate"},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": f"fairlead-host-{status_worlds.NAME}"},
            "subjects": [{"apiGroup": group, "kind": "User", "name": "fairlead sandbox"}],
        }
        await world.must("POST", COLLECTIONS["RoleBinding"].format(world.namespace), binding)
        kubectl = Kubectl(world, tmp_path)
        kubectl.cluster["certificate-authority"] = str(world.ca_file)
        kubectl.write(certificate_of(real_apiserver.clients))
        async with asyncio.timeout(30):
            while not await _admitted(kubectl):
                await asyncio.sleep(0.05)
        kubectl.write(certificate_of(Authority("others.example")))
        assert (await kubectl.trouble()).reason is Reason.API_UNAUTHORIZED
        kubectl.write(certificate_of(real_apiserver.clients))
        assert await kubectl.reads()
        await kubectl.api.close()


async def _admitted(kubectl: Kubectl) -> bool:
    """A new binding reaches the server's caches a moment later."""
    try:
        return await kubectl.reads()
    except Trouble as trouble:
        assert trouble.reason is Reason.API_FORBIDDEN, trouble
        assert '"fairlead sandbox"' in trouble.detail
        return False


def certificate_of(authority: Authority) -> Json:
    made = authority.svid("spiffe://clients.example/vm-1", 300)
    pems = {"client-certificate-data": made.cert_pem, "client-key-data": made.key_pem}
    return {key: base64.b64encode(pem.encode()).decode() for key, pem in pems.items()}


async def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(
    kubectl: Kubectl, tmp_path: Path
) -> None:
    from cryptography.hazmat.primitives import serialization

    made = Authority("clients.example").svid("spiffe://clients.example/vm-1", 300)
    key = serialization.load_pem_private_key(made.key_pem.encode(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(SECRET.encode()),
    )
    (tmp_path / "c.pem").write_text(made.cert_pem)
    (tmp_path / "k.pem").write_bytes(locked)
    kubectl.write({"client-certificate": "../c.pem", "client-key": "../k.pem"})
    found = await kubectl.trouble()
    assert found.reason is Reason.API_CREDENTIAL_UNREADABLE and "password" in found.detail


async def test_the_name_that_the_certificate_must_be_for(kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl.write(None, **{"tls-server-name": "api.example.org"})
    assert (await kubectl.trouble()).reason is Reason.API_NAME_MISMATCH
    await kubectl.server.stop()
    authority = Authority("example.org")
    (tmp_path / "ca.crt").write_text(authority.pem)
    tls = status_worlds.server_tls(authority, ["api.example.org"], tmp_path)
    await kubectl.server.start(port=kubectl.server.port, ssl_context=tls)
    assert await kubectl.reads()


async def test_another_context(kubectl: Kubectl) -> None:
    kubectl.write()
    kubectl.api = kubectl.client("broken")
    found = await kubectl.trouble()
    assert found.reason is Reason.API_KUBECONFIG_UNUSABLE and "no user 'nobody'" in found.detail


@pytest.mark.parametrize(
    ("user", "cluster", "said"),
    [
        (None, {"insecure-skip-tls-verify": True}, "insecure-skip-tls-verify, which is refused"),
        (None, {"proxy-url": "http://a"}, "proxy-url"),
        (None, {"server": "http://127.0.0.1:1"}, "not https"),
        (None, {"certificate-authority": ""}, "no certificate-authority"),
        (None, {"certificate-authority-data": "!" + SECRET}, "not base64"),
        ({"username": "me", "password": SECRET}, {}, "username, password"),
        ({"token": "t", "as": "admin"}, {}, "as, which is refused"),
        ({"auth-provider": {"name": SECRET}}, {}, "auth-provider"),
        ({"token": SECRET + " \x07"}, {}, "is none"),
        ({}, {}, "no token and no certificate"),
        ({"client-certificate-data": base64.b64encode(b"x").decode()}, {}, "no token and no certificate"),
        ({"exec": {"apiVersion": "client.authentication.k8s.io/v1alpha1", "command": "x"}}, {}, "v1alpha1"),
        ({"exec": {"command": "x"}}, {}, "names no apiVersion"),
    ],
)
async def test_what_is_refused_of_a_kubeconfig_is_named(
    kubectl: Kubectl, user: Json | None, cluster: Json, said: str
) -> None:
    kubectl.write(user, **cluster)
    found = await kubectl.trouble()
    assert found.reason is Reason.API_KUBECONFIG_UNUSABLE and said in found.detail, found


@pytest.mark.parametrize("text", [None, "", f"{SECRET}: [", "- a", "current-context: 1\ncontexts: 7\n"])
async def test_what_is_no_kubeconfig(kubectl: Kubectl, text: str | None) -> None:
    if text is not None:
        kubectl.path.write_text(text)
    assert (await kubectl.trouble()).reason is Reason.API_KUBECONFIG_UNUSABLE


# programs ---------------------------------------------------------------------------------------------


async def test_a_program_gives_a_token_once_for_many_calls(kubectl: Kubectl, tmp_path: Path) -> None:
    count = f"open({str(tmp_path / 'runs')!r}, 'a').write('x')\n"
    soon = datetime.fromtimestamp(time.time() + 3600, UTC).isoformat().replace("+00:00", "Z")
    answer = kubectl.answer(token=kubectl.world.host_token, expirationTimestamp=soon)
    kubectl.write(kubectl.plugin(count + answer))
    for _ in range(3):
        assert await kubectl.reads()
    assert (tmp_path / "runs").read_text() == "x"
    about = kubectl.credential.about()
    assert about["by"] == "exec plug-in" and "expires_at" in about


async def test_a_program_is_told_what_it_asks_for_and_inherits_nothing(
    kubectl: Kubectl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED", SECRET)
    dump = f"open({str(tmp_path / 'seen')!r}, 'w').write(json.dumps([dict(os.environ), sys.argv[1:]]))\n"
    code = dump + kubectl.answer(token=kubectl.world.host_token)
    env = [{"name": "REGION", "value": "north"}]
    kubectl.write(kubectl.plugin(code, args=["--for", "me"], env=env, provideClusterInfo=True))
    assert await kubectl.reads()
    environment, arguments = json.loads((tmp_path / "seen").read_text())
    assert arguments == ["--for", "me"] and environment["REGION"] == "north" and "PLANTED" not in environment
    info = json.loads(environment["KUBERNETES_EXEC_INFO"])
    assert info["spec"]["interactive"] is False
    assert info["spec"]["cluster"]["server"] == kubectl.world.url


async def test_after_a_401_the_program_is_run_again(kubectl: Kubectl, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.write_text("old")
    answer = kubectl.answer(token="TOKEN").replace("TOKEN", "' + open(sys.argv[1]).read() + '")
    kubectl.write(kubectl.plugin(answer, args=[str(given)]))
    assert (await kubectl.trouble()).reason is Reason.API_UNAUTHORIZED
    given.write_text(kubectl.world.host_token)
    async with asyncio.timeout(30):
        while True:
            try:
                assert await kubectl.reads()
                return
            except Trouble as trouble:
                assert trouble.reason is Reason.API_UNAUTHORIZED
                await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (f"print({SECRET!r}); print({SECRET!r}, file=sys.stderr); sys.exit(3)", "exit 3"),
        (f"print({SECRET!r})", "no ExecCredential"),
        ("print('[]')", "no ExecCredential"),
        ("STATUS {}", "neither a token nor a certificate"),
        (f'STATUS {{"token": "{SECRET} x"}}', "neither a token nor a certificate"),
        (f'STATUS {{"clientKeyData": "{SECRET}"}}', "without a certificate"),
        (f'STATUS {{"token": "{SECRET}", "expirationTimestamp": "2020-01-01T00:00:00Z"}}', "expired already"),
        (f'STATUS {{"token": "{SECRET}", "expirationTimestamp": "{SECRET}"}}', "no ExecCredential"),
    ],
)
async def test_a_program_that_gives_no_token(kubectl: Kubectl, code: str, said: str) -> None:
    if code.startswith("STATUS "):
        code = kubectl.answer(**json.loads(code.removeprefix("STATUS ")))
    kubectl.write(kubectl.plugin(code))
    found = await kubectl.trouble()
    assert found.reason is Reason.API_PLUGIN_FAILED and said in found.detail, found


async def test_a_program_that_is_not_there_or_wants_a_terminal(kubectl: Kubectl) -> None:
    kubectl.write(kubectl.plugin("", command="./nowhere"))
    found = await kubectl.trouble()
    assert found.reason is Reason.API_PLUGIN_FAILED and "No such file" in found.detail
    kubectl.write(kubectl.plugin("", interactiveMode="Always"))
    assert (await kubectl.trouble()).reason is Reason.API_KUBECONFIG_UNUSABLE
