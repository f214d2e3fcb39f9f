"""The parts that watch the host's identity and the mesh's trust anchors."""

import random
import time
from pathlib import Path

from agent.adapters import anchors as host_anchors
from agent.adapters import helper, identity_token, kube, spire
from agent.config import derived
from agent.core.reasons import Reason
from agent.daemon.context import Context
from agent.host import credential
from agent.loops import anchors as anchors_loop
from agent.loops import identity as identity_loop
from agent.loops import token as token_loop
from agent.ports import IdentityTokens


def identity(it: Context, api: kube.KubeApi) -> identity_loop.IdentityLoop | token_loop.TokenLoop:
    wanted, publish, attempts = it.config.identity, it.board.setter("identity"), it.board.attempts
    common = (it.spec.identity, publish, time.time, random.random)
    if wanted.mode == "token":
        return token_loop.TokenLoop(_tokens(it, api), *common, attempts)
    workload_api = spire.SpireWorkloadApi(wanted.workload_api)
    return identity_loop.IdentityLoop(workload_api, *common, wanted.hint, attempts)


def _tokens(it: Context, api: kube.KubeApi) -> IdentityTokens:
    wanted, subject = it.config.identity, derived.token_subject(it.config)
    place = identity_token.Place(it.host.token, it.owner, subject, time.time)
    if wanted.token_file:
        return identity_token.FromFile(place, Path(credential(wanted.token_file)))
    return identity_token.Requested(place, api.tokens(wanted.service_account).ask)


def anchors(it: Context, api: kube.KubeApi, privileged: helper.Helper) -> anchors_loop.AnchorsLoop:
    wanted, source = it.config.identity, it.config.identity.anchors_source
    roots = api.trust_roots(it.config.control_plane.namespace)
    places = host_anchors.Places(derived.anchors_in_force(it.config, it.host.prefix), it.host.anchors_kept)

    async def follow(digest: str) -> None:
        await privileged.ask("anchors follow", Reason.TRUST_ANCHORS_UNWRITABLE, digest=digest)

    adapter = host_anchors.HostAnchors(
        places,
        roots.read if source == "cluster" else None,
        bundled=source == "workload-api",
        follow=follow if wanted.anchors_follow else None,
    )
    return anchors_loop.AnchorsLoop(
        adapter,
        it.board,
        it.board.setter("anchors"),
        time.time,
        it.name,
        wanted.anchors_window,
        follow=wanted.anchors_follow,
        rooted=source == "workload-api",
    )
