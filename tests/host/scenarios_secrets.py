"""Scenarios in which no secret may show anywhere: not in normal operation, not when the API server returns the
token in an error, and not after a signal that dumps core. One for each credential."""

import json
import re
import resource
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from agent.core.reasons import Reason
from agent.sandbox.api.faults import Answer
from agent.sandbox.identity.controller import IdentityController
from agent.sandbox.stage import network
from agent.sandbox.stage.scene import API_PORT, PROXY_UID, TOKEN, Scene
from agent.sandbox.stage.tour import until
from tests.host.scenario import named, scenario, serves, serving, started
from tests.host.secrets import COLLECTED, OUTPUTS, Keys, Look, secrets
from tests.lab import identity_tokens

CONTROLLER = f"{network.CLUSTER}:8080"


@scenario(svid_ttl=10.0, token=True)
async def no_token_is_said(scene: Scene) -> None:
    await _nothing_secret_is_said(scene, Reason.API_UNAUTHORIZED)


@scenario(svid_ttl=10.0)
async def no_jwt_is_said(scene: Scene) -> None:
    await _nothing_secret_is_said(scene, Reason.API_JWT_REFUSED)


@scenario(svid_ttl=10.0, token=True)
async def no_token_of_a_kubeconfig_is_said(scene: Scene) -> None:
    """A program gives it; other users of the same file have a password, a token, a variable."""
    etc = scene.prefix / "etc/fairlead"
    _kubeconfig(etc)
    file = etc / "fairlead.toml"
    way = f'[api]\nauth = "kubeconfig"\nkubeconfig = "{etc / "kubeconfig"}"\n\n'
    file.write_text(re.sub(r"\[api\]\n.*?\n\n", way, file.read_text(), flags=re.DOTALL))
    await _nothing_secret_is_said(scene, Reason.API_UNAUTHORIZED)


@scenario(token=True)
async def no_token_of_the_identity_is_said(scene: Scene) -> None:
    """Token mode. While the identity controller is unreachable there is no redirect; then the outbound one is on,
    and the host is still not Ready, and reports why. A worthless token is not passed on."""
    given = scene.prefix / "etc/fairlead/identity-token"
    controller = IdentityController(scene.ca, "linkerd", "cluster.local", 3600)
    _token_mode(scene, given)
    given.write_text(identity_tokens.token(0, time.time() + 3600))
    await started(scene)
    keys = Keys(scene.ca)
    await until(scene, lambda s: s["goals"]["proxy"] == "running" and s["facts"]["proxy"]["process"], "a proxy")
    await until(
        scene, lambda s: scene.ready() == ("False", "IdentityOutboundOnly"), "the reason at the API server"
    )
    key = scene.prefix / "run/fairlead-proxy/identity/key.p8"
    assert (key.stat().st_uid, key.stat().st_mode & 0o777) == (PROXY_UID, 0o600)
    held = scene.prefix / "run/fairlead-token/token"
    assert held.stat().st_mode & 0o777 == 0o640 and held.read_text() == given.read_text()
    assert (await scene.status())["goals"]["outbound"] == "released"
    async with controller.serving(CONTROLLER):
        await until(scene, lambda s: s["facts"]["redirect"]["outbound"] == "on", "the redirect")
        assert controller.certified == [identity_tokens.NAME]
        assert all(c["status"] == "True" for c in (await scene.status())["conditions"][:4]), await scene.status()
        assert scene.ready() == ("False", "IdentityOutboundOnly")
        await _nothing_shows(scene, keys)
    given.write_text(identity_tokens.token(0, time.time() + 3600, sub="system:serviceaccount:a:b"))
    await named(scene, Reason.IDENTITY_TOKEN_UNSUITABLE)
    assert held.read_text() != given.read_text()
    await _nothing_shows(scene, keys)
    await _dies_without_a_core_file(scene)
    await _nothing_shows(scene, keys, COLLECTED)
    await scene.start_agent(arguments=["--log", "json"])
    await named(scene, Reason.IDENTITY_TOKEN_UNSUITABLE)
    await _nothing_shows(scene, keys)


def _token_mode(scene: Scene, given: Path) -> None:
    file = scene.prefix / "etc/fairlead/fairlead.toml"
    text = re.sub(r"^(identity|server_name) = .*\n", "", file.read_text(), flags=re.MULTILINE)
    way = f'mode = "token"\nservice_account = "db-1"\ntoken_file = "{given}"'
    text = text.replace("[control_plane]\n", f'[control_plane]\nidentity = "{CONTROLLER}"\n')
    file.write_text(re.sub(r"^workload_api = .*$", way, text, flags=re.MULTILINE))


async def _nothing_secret_is_said(scene: Scene, refusal: Reason) -> None:
    keys = Keys(scene.ca)
    scene.workload_api.rotate()
    await serving(scene)
    await _nothing_shows(scene, keys)
    said = f"who is Bearer {TOKEN}?" if scene.options.token else "who is that?"
    scene.api.faults.add(Answer(401, message=said), times=10_000)
    scene.api.cut()
    await until(scene, lambda s: any(p["reason"] == refusal for p in s["problems"]), "a refusal")
    await _nothing_shows(scene, keys)
    scene.api.faults.clear()
    await serves(scene)
    await _dies_without_a_core_file(scene)
    await _nothing_shows(scene, keys, COLLECTED)
    await scene.start_agent(arguments=["--log", "json"])
    await serves(scene)
    await _nothing_shows(scene, keys)
    assert keys.issued, "no key was looked for"


async def _nothing_shows(scene: Scene, keys: Keys, outputs: Mapping[str, Look] = OUTPUTS) -> None:
    said = {name: await output(scene) for name, output in outputs.items()}
    empty = [name for name, text in said.items() if not text.strip()]
    assert not empty, f"nothing to look at: {empty}"
    found = [f"{what} in {name}" for what, own in secrets(keys) for name, text in said.items() if own in text]
    assert not found, found


async def _dies_without_a_core_file(scene: Scene) -> None:
    assert scene.agent is not None
    assert resource.prlimit(scene.agent.pid, resource.RLIMIT_CORE)[0] == 0
    scene.agent.send_signal(signal.SIGQUIT)
    assert await scene.agent.wait() == -signal.SIGQUIT


def _kubeconfig(etc: Path) -> None:
    version = "client.authentication.k8s.io/v1"
    answer = {"apiVersion": version, "kind": "ExecCredential", "status": {"token": TOKEN}}
    program = etc / "login"
    program.write_text(f"#!/bin/sh\necho planted-complaint >&2\necho '{json.dumps(answer)}'\n")
    program.chmod(0o755)
    env = [{"name": "SECRET", "value": "planted-variable"}]
    users = {
        "here": {"exec": {"apiVersion": version, "command": "./login", "env": env, "interactiveMode": "Never"}},
        "old": {"username": "me", "password": "planted-password"},
        "other": {"token": "planted-other-token"},
    }
    server = {"server": f"https://{network.CLUSTER}:{API_PORT}", "certificate-authority": "api-ca.pem"}
    tree = {
        "current-context": "here",
        "contexts": [{"name": name, "context": {"cluster": "c", "user": name}} for name in users],
        "clusters": [{"name": "c", "cluster": server}],
        "users": [{"name": name, "user": user} for name, user in users.items()],
    }
    (etc / "kubeconfig").write_text(json.dumps(tree))
