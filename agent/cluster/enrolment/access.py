"""The operator's way to the API server: the kubeconfig that kubectl uses too."""

import os
import random
import time
from pathlib import Path

from agent.adapters.kube.kubeconfig import Kubeconfig
from agent.cluster.enrolment.refused import refused

_USUAL = ".kube/config"


def kubeconfig(path: str, context: str) -> Kubeconfig:
    """`path`: "" for $KUBECONFIG, else ~/.kube/config. Raises Refused."""
    named = path or os.environ.get("KUBECONFIG", "")
    if ":" in named:
        remedy = "write one file: kubectl config view --flatten --minify > FILE, then --kubeconfig FILE"
        raise refused("cannot use $KUBECONFIG: it names several files", remedy)
    return Kubeconfig(str(Path(named) if named else Path.home() / _USUAL), context, time.time, random.random)
