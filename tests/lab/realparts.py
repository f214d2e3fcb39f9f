"""The real things that the contract tests run against: a kube-apiserver with its etcd, and go-spiffe as the
reference client.

Building them is packaging/realparts.py's business (`make test` runs it); here they are found and started.
In a test, take the fixtures of tests/conftest.py instead of these.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode

from cryptography.hazmat.primitives import serialization

from agent.sandbox.identity.ca import Authority

HOST_USER = "fairlead-host"
MEMBER_USER = "fairlead-member"

_READY_WITHIN = 60.0
_STOP_WITHIN = 3.0
_BUILDER = Path(__file__).resolve().parents[2] / "packaging" / "realparts.py"


class RealPartMissing(Exception):
    """A real part that a test needs is not built, or does not start. Never a reason to skip."""


def where(name: str) -> Path:
    """The path of a built part: "kube-apiserver", "etcd" or "judge"."""
    asked = subprocess.run(
        [sys.executable, str(_BUILDER), "where", name], capture_output=True, text=True, env={**os.environ}
    )
    if asked.returncode != 0:
        raise RealPartMissing(asked.stderr.strip())
    return Path(asked.stdout.strip())


class Answer(NamedTuple):
    status: int
    body: dict[str, Any]


class ApiServer:
    """A kube-apiserver on an etcd of its own, from `with` to the end of it; nothing of it is left behind.

    There is no controller manager: a deleted namespace stays Terminating, no controller writes EndpointSlices,
    and an ownerReference deletes nothing.
    """

    url: str
    port: int
    ca_file: Path

    def __init__(self, authentication: str = "", names: Sequence[str] = (), users: Mapping[str, str] = {}) -> None:
        """`authentication`: an AuthenticationConfiguration, beside the tokens. `names`: of its certificate, beside
        those of loopback. `users`: more of them, by their groups; `tokens` has theirs."""
        self._authentication, self._names, self._users = authentication, names, users
        self.tokens = {user: secrets.token_hex(16) for user in users}
        self.admin_token = secrets.token_hex(16)
        self.host_token = secrets.token_hex(16)  # of the user fairlead-host: no right but those of `grant`
        self.member_token = secrets.token_hex(16)  # of a user in the group fairlead:hosts, without rights
        self.clients = Authority("clients.example")  # of certificates that prove who calls
        self._programs: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        programs = {name: where(name) for name in ("etcd", "kube-apiserver")}
        self._home = Path(tempfile.mkdtemp(prefix="fairlead-apiserver-"))
        try:
            self._start(programs)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def pids(self) -> Mapping[str, int]:
        return {name: one.pid for name, one in zip(("etcd", "kube-apiserver"), self._programs, strict=True)}

    def restart(self) -> None:
        """kube-apiserver is killed and started again, on the same etcd; returns when it is ready."""
        program = self._programs.pop()
        program.kill()
        program.wait()
        self._run("kube-apiserver", [str(where("kube-apiserver")), *self._apiserver_flags(self._home / "tls")])
        _until(self._is_ready, "kube-apiserver is ready", _READY_WITHIN)

    # --- requests ---

    def text(self, path: str) -> str:
        """A page that is not JSON, such as /metrics."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=self._trust)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.admin_token}"})
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        token: str | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """One call, as the administrator unless another token is given. Any status is an answer."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=self._trust)
        headers = {"Authorization": f"Bearer {token or self.admin_token}", "Accept": accept}
        if body is not None:
            headers["Content-Type"] = content_type
        target = f"{path}?{urlencode(query)}" if query else path
        try:
            connection.request(method, target, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return Answer(answer.status, _document(answer.read()))
        finally:
            connection.close()

    def must(self, method: str, path: str, body: object = None, **more: Any) -> dict[str, Any]:
        """The same where only success will do: its body."""
        answer = self.request(method, path, body, **more)
        if answer.status >= 400:
            raise AssertionError(f"{method} {path}: {answer.status} {answer.body.get('message', '')}")
        return answer.body

    def install_crd(self, crd: Mapping[str, Any]) -> None:
        """Returns when the new kind is served. Installing it again changes nothing."""
        collection = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        answer = self.request("POST", collection, crd)
        if answer.status not in (201, 409):
            raise AssertionError(f"cannot install {crd['metadata']['name']}: {answer.body.get('message')}")
        spec = crd["spec"]
        served = [version["name"] for version in spec["versions"] if version["served"]]
        for path in [f"/apis/{spec['group']}/{version}/{spec['names']['plural']}" for version in served]:
            _until(partial(self._is_served, path), f"{path} is served")

    def _is_served(self, path: str) -> bool:
        return self.request("GET", path).status == 200

    def new_namespace(self) -> str:
        """A namespace that no other test knows."""
        name = f"t-{secrets.token_hex(4)}"
        self.must("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        return name

    def grant(self, namespace: str, rules: Iterable[Mapping[str, list[str]]]) -> None:
        """Gives the user of host_token these RBAC rules in one namespace; returns when they are in force."""
        rules = list(rules)
        base = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
        name = f"granted-{secrets.token_hex(4)}"
        self.must("POST", f"{base}/roles", {"metadata": {"name": name}, "rules": rules})
        binding = {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": HOST_USER}],
        }
        self.must("POST", f"{base}/rolebindings", binding)
        _until(lambda: all(self._may(namespace, rule) for rule in rules), f"the rules of {name} hold")

    def _may(self, namespace: str, rule: Mapping[str, list[str]]) -> bool:
        resource, _, subresource = rule["resources"][0].partition("/")
        attributes = {"namespace": namespace, "verb": rule["verbs"][0], "group": rule["apiGroups"][0]}
        attributes |= {"resource": resource, "subresource": subresource}
        attributes |= {"name": names[0]} if (names := rule.get("resourceNames")) else {}
        review = {"spec": {"user": HOST_USER, "resourceAttributes": attributes}}
        answer = self.must("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return bool(answer["status"].get("allowed"))

    # --- start and stop ---

    def _start(self, programs: Mapping[str, Path]) -> None:
        tls = self._home / "tls"
        tls.mkdir()
        self.ca_file = write_authority_and_server(tls, self._names)
        self._trust = ssl.create_default_context(cafile=str(self.ca_file))
        (tls / "clients.crt").write_text(self.clients.pem)
        (self._home / "tokens").write_text(
            f"{self.admin_token},admin,admin,system:masters\n{self.host_token},{HOST_USER},{HOST_USER}\n"
            f"{self.member_token},{MEMBER_USER},{MEMBER_USER},fairlead:hosts\n"
            + "".join(f"{self.tokens[user]},{user},{user},{group}\n" for user, group in self._users.items())
        )
        (self._home / "authentication.yaml").write_text(self._authentication)
        self._reserved, self.port = _reserve_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self._run("etcd", [str(programs["etcd"]), *self._etcd_flags()])
        self._run("kube-apiserver", [str(programs["kube-apiserver"]), *self._apiserver_flags(tls)])
        _until(self._is_ready, "kube-apiserver is ready", _READY_WITHIN)

    def _etcd_flags(self) -> list[str]:
        nowhere = "http://127.0.0.1:0"  # one member, one client: its advertised address is never dialled
        return [
            f"--data-dir={self._home}/etcd",
            f"--listen-client-urls=unix://{self._home}/etcd.sock",
            f"--advertise-client-urls={nowhere}",
            f"--listen-peer-urls={nowhere}",
            f"--initial-advertise-peer-urls={nowhere}",
            f"--initial-cluster=default={nowhere}",
            "--unsafe-no-fsync",
        ]

    def _apiserver_flags(self, tls: Path) -> list[str]:
        return [
            f"--etcd-servers=unix://{self._home}/etcd.sock",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            "--permit-port-sharing",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--tls-cert-file={tls}/server.crt",
            f"--tls-private-key-file={tls}/server.key",
            f"--token-auth-file={self._home}/tokens",
            f"--client-ca-file={tls}/clients.crt",
            *([f"--authentication-config={self._home}/authentication.yaml"] if self._authentication else []),
            "--authorization-mode=RBAC",
            # It would wait for service accounts that only a controller manager makes.
            "--disable-admission-plugins=ServiceAccount",
            f"--service-account-issuer={self.url}",
            f"--service-account-key-file={tls}/server.key",
            f"--service-account-signing-key-file={tls}/server.key",
            "--service-cluster-ip-range=10.96.0.0/16",
        ]

    def _run(self, name: str, argv: list[str]) -> None:
        # setpriv: they end with us even when we are killed.
        guarded = ["setpriv", "--pdeathsig", "KILL", "--", *argv]
        with (self._home / f"{name}.log").open("wb") as log:
            program = subprocess.Popen(
                guarded,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._home,
                env={**os.environ},
            )
        self._programs.append(program)

    def _is_ready(self) -> bool:
        for program, name in zip(self._programs, ("etcd", "kube-apiserver"), strict=True):
            if program.poll() is not None:
                lines = (self._home / f"{name}.log").read_text(errors="replace").splitlines()[-10:]
                raise RealPartMissing("\n".join([f"cannot start {name}: it exited {program.returncode}", *lines]))
        try:
            return self.request("GET", "/readyz").status == 200
        except OSError:
            return False

    def _stop(self) -> None:
        for program in reversed(self._programs):
            _end(program)
        self._programs.clear()
        if hasattr(self, "_reserved"):
            self._reserved.close()
        shutil.rmtree(self._home)


async def judge_x509(
    judge: Path,
    socket_path: Path,
    *,
    count: int = 1,
    timeout: float = 10.0,
    retry: bool = False,
    uid: int | None = None,
) -> tuple[int, list[dict[str, Any]]]:
    """What go-spiffe's WatchX509Context makes of a Workload API: the judge's exit code, and its lines."""
    argv = [str(judge), "x509", "--socket", f"unix://{socket_path}", "--timeout", f"{timeout}s"]
    argv += ["--count", str(count), *(["--retry"] if retry else [])]
    program = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, user=uid, env={**os.environ}
    )
    try:
        told, _ = await program.communicate()
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
    assert program.returncode is not None
    return program.returncode, [json.loads(line) for line in told.splitlines()]


def _document(text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        return {"message": text.decode(errors="replace")}  # /readyz and its like speak plain words
    return document if isinstance(document, dict) else {"message": document}


def _reserve_port() -> tuple[socket.socket, int]:
    """A port that stays ours from now on: bound here, listened on by the program that shares it."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(("127.0.0.1", 0))
    return held, held.getsockname()[1]


def _until(true: Callable[[], bool], what: str, within: float = 10.0) -> None:
    end = time.monotonic() + within
    while not true():
        if time.monotonic() > end:
            raise RealPartMissing(f"cannot wait until {what}: not so after {within:.0f} s")
        time.sleep(0.05)


def _end(program: subprocess.Popen[bytes]) -> None:
    program.terminate()
    try:
        program.wait(_STOP_WITHIN)
    except subprocess.TimeoutExpired:
        program.kill()
        program.wait()


def write_authority_and_server(folder: Path, names: Sequence[str]) -> Path:
    """Writes server.crt and server.key for loopback and `names`; returns the authority to trust."""
    authority = Authority("test.example")
    certificate, key = authority.tls_server(["127.0.0.1", "localhost", *names])
    # The key signs service account tokens too, and for that kube-apiserver reads no PKCS #8.
    old_form = serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    parsed = serialization.load_pem_private_key(key.encode(), password=None)
    key = parsed.private_bytes(serialization.Encoding.PEM, *old_form).decode()
    for name, pem in (("ca.crt", authority.pem), ("server.crt", certificate), ("server.key", key)):
        (folder / name).write_text(pem)
    return folder / "ca.crt"
