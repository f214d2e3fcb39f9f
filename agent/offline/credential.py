"""The host's credential for the API server, for both composition roots, by the configuration."""

import random
import time

from agent import host
from agent.adapters import kube
from agent.config import Config, derived


def sources(config: Config) -> tuple[object, ...]:
    """What the credential depends on. While this is equal, the same credential can stay in use."""
    return (config.api, config.identity.workload_api, derived.api_identity(config))


def credential(config: Config) -> kube.Credential:
    """Only what the chosen way needs is imported: gRPC alone costs a drain at shutdown half a second."""
    api = config.api
    match api.auth:
        case "spiffe":
            from agent.adapters.kube.jwt_svid import JwtSvid

            socket, me = config.identity.workload_api, derived.api_identity(config)
            return JwtSvid(api.server, api.ca, socket, api.audience, me, time.time, random.random)
        case "token-file":
            return kube.TokenFile(api.server, api.ca, host.credential(api.token_file))
        case "kubeconfig":
            from agent.adapters.kube.kubeconfig import Kubeconfig

            return Kubeconfig(host.credential(api.kubeconfig), api.context, time.time, random.random)
