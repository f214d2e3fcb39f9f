"""A kubeconfig for programs in the cluster of a scene."""

import json
from pathlib import Path

from agent.sandbox.stage import network
from agent.sandbox.stage.scene import API_PORT, Scene


def write(scene: Scene, user: str, token: str) -> Path:
    """`token` becomes valid for `user`."""
    scene.api.tokens[token] = user
    authority = scene.base / "api-ca.pem"
    authority.write_text(scene.ca.pem)
    cluster = {"server": f"https://{network.CLUSTER}:{API_PORT}", "certificate-authority": str(authority)}
    path = scene.base / f"{user}.kubeconfig"
    path.write_text(
        json.dumps(
            {
                "clusters": [{"name": "sandbox", "cluster": cluster}],
                "users": [{"name": user, "user": {"token": token}}],
                "contexts": [{"name": user, "context": {"cluster": "sandbox", "user": user}}],
                "current-context": user,
            }
        )
    )
    return path
