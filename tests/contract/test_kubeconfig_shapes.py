"""Kubeconfigs of clouds, distributions and editors: accepted as by kubectl, or refused with a clear error."""

import base64
import codecs
import json
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.adapters.kube.kubeconfig import Kubeconfig, choose, read_plugin
from agent.core.reasons import Reason
from agent.ports import Trouble
from tests.contract.test_token_kubeconfig import Kubectl, base64_of
from tests.contract.test_token_kubeconfig import fresh_kubectl as fresh_kubectl

Json = dict[str, Any]
CASES = Path(__file__).parent.parent / "cases"
V1BETA1 = "client.authentication.k8s.io/v1beta1"


async def test_cases_base64_in_a_literal_block() -> None:
    path = CASES / "kubeconfig-literal-block.yaml"
    access = await Kubeconfig(str(path), "", lambda: 0.0, lambda: 0.0).access()
    assert access.authority.startswith(b"-----BEGIN CERTIFICATE-----") and access.token == "t"


# what is written ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap",
    [
        lambda data: "|\n" + textwrap.indent("\n".join(textwrap.wrap(data, 64)), "      "),
        lambda data: "|\r\n" + textwrap.indent("\r\n".join(textwrap.wrap(data, 64)), "      "),
        lambda data: '"' + "\\\n      ".join(textwrap.wrap(data, 64)) + '"',  # as Rancher does
        lambda data: '"' + "\\n".join(textwrap.wrap(data, 64)) + '\\n"',
    ],
    ids=["block", "CRLF", "Rancher", "line feeds"],
)
async def test_cases_base64_however_it_is_wrapped(kubectl: Kubectl, tmp_path: Path, wrap: Any) -> None:
    kubectl.cluster["certificate-authority-data"] = "DATA"
    kubectl.write()
    text = kubectl.path.read_text().replace("DATA", wrap(base64_of(tmp_path / "ca.crt")))
    kubectl.path.write_bytes(text.encode())
    assert await kubectl.reads()


@pytest.mark.parametrize(
    "written",
    [
        lambda tree: codecs.BOM_UTF8 + yaml.safe_dump(tree).encode(),
        lambda tree: yaml.safe_dump(tree).replace("\n", "\r\n").encode(),
        lambda tree: yaml.safe_dump(tree).encode("utf-16"),
        lambda tree: json.dumps(tree, indent="\t").encode(),
        lambda tree: ("---\n# für alle\n" + yaml.safe_dump(tree)).encode(),
    ],
    ids=["BOM", "CRLF", "UTF-16", "JSON with tabs", "comments"],
)
async def test_cases_a_kubeconfig_of_any_editor(kubectl: Kubectl, written: Any) -> None:
    kubectl.path.write_bytes(written(kubectl.tree()))
    assert await kubectl.reads()


@pytest.mark.parametrize(
    "file",
    [
        lambda pem: codecs.BOM_UTF8 + pem,
        lambda pem: "# Zürich, 東京\n".encode() + pem,
        lambda pem: "# Zürich\n".encode("latin-1") + pem,
        lambda pem: pem.replace(b"\n", b"\r\n"),
        lambda pem: pem.decode().encode("utf-16"),
        lambda pem: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" + pem + pem,
    ],
    ids=["BOM", "UTF-8", "Latin-1", "CRLF", "UTF-16", "one that cannot be read, and the right one twice"],
)
async def test_cases_an_authority_of_any_editor(kubectl: Kubectl, tmp_path: Path, file: Any) -> None:
    authority = tmp_path / "ca.crt"
    authority.write_bytes(file(authority.read_bytes()))
    kubectl.write()
    assert await kubectl.reads()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
async def test_cases_a_token_file_of_any_editor(kubectl: Kubectl, encoding: str) -> None:
    (kubectl.folder / "token").write_text(kubectl.world.host_token + "\r\n", encoding)
    kubectl.write({"tokenFile": "token"})
    assert await kubectl.reads()


# clouds and distributions ---------------------------------------------------------------------------


EKS_NAME = "arn:aws:eks:eu-west-1:1:cluster/prod"


def chosen(user: Json, cluster: Json | None = None) -> Any:
    tree = {
        "current-context": EKS_NAME,
        "contexts": [
            {"name": "other", "context": {"cluster": "other", "user": "other"}},
            {
                "name": "arn:aws:eks:eu-west-1:1:cluster/prod",
                "context": {"cluster": "c", "user": "u", "namespace": "n"},
            },
        ],
        "clusters": [
            {"name": "other", "cluster": {"server": "https://other"}},
            {"name": "c", "cluster": {"server": "https://192.0.2.1", **(cluster or {})}},
        ],
        "users": [{"name": "other", "user": {"token": "x"}}, {"name": "u", "user": user}],
        "preferences": {},
    }
    return choose(yaml.safe_dump(tree).encode(), "", Path("/etc/fairlead"))


EKS = {
    "apiVersion": V1BETA1,
    "command": "aws",
    "args": ["eks", "get-token", "--cluster-name", "prod"],
    "env": None,
}
GKE = {
    "apiVersion": V1BETA1,
    "command": "gke-gcloud-auth-plugin",
    "installHint": "Install it.",
    "interactiveMode": "IfAvailable",
    "provideClusterInfo": True,
}
AKS = {"apiVersion": V1BETA1, "command": "kubelogin", "args": ["get-token", "--login", "msi"], "env": []}


def test_cases_eks_gke_aks() -> None:
    eks, gke, aks = (read_plugin(chosen({"exec": table})) for table in (EKS, GKE, AKS))
    assert eks.command == ("aws", "eks", "get-token", "--cluster-name", "prod") and eks.environment == {}
    assert gke.command == ("gke-gcloud-auth-plugin",) and gke.cluster == {"server": "https://192.0.2.1"}
    assert aks.command == ("kubelogin", "get-token", "--login", "msi")


def test_cases_empty_values_of_exec() -> None:
    """As Go reads them: no value is no text, and not the word None."""
    env = [{"name": "AWS_PROFILE", "value": None}, {"name": "AWS_REGION"}, {"name": "X", "value": ""}]
    found = read_plugin(chosen({"exec": {**EKS, "args": ["--role", None, ""], "env": env}}))
    assert found.command == ("aws", "--role", "", "")
    assert found.environment == {"AWS_PROFILE": "", "AWS_REGION": "", "X": ""}


def test_a_plugin_is_told_the_cluster_and_what_it_is_configured_by() -> None:
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}
    cluster = {"certificate-authority-data": base64.b64encode(b"pem").decode(), "extensions": [extension]}
    found = read_plugin(chosen({"exec": GKE}, cluster)).cluster
    assert found is not None and found["config"] == {"audience": "x"}
    assert found["certificate-authority-data"] == cluster["certificate-authority-data"]


@pytest.mark.parametrize(
    ("server", "dialled"),
    [
        ("https://rancher.example/k8s/clusters/c-m-1/", "https://rancher.example/k8s/clusters/c-m-1"),
        ("192.0.2.1:6443", "https://192.0.2.1:6443"),
        ("https://[2001:DB8::1]:6443", "https://[2001:DB8::1]:6443"),
    ],
)
def test_cases_servers_of_rancher_and_others(server: str, dialled: str) -> None:
    assert chosen({"token": "kubeconfig-u-1:x"}, {"server": server}).server == dialled


async def test_cases_k3s_by_certificate(tmp_path: Path) -> None:
    pems = {"client-certificate-data": b"chain", "client-key-data": b"key"}
    cluster = {"server": "https://127.0.0.1:6443", "certificate-authority-data": "cGVt"}
    user = {key: base64.b64encode(pem).decode() + "\n" for key, pem in pems.items()}
    tree = {
        "current-context": "default",
        "contexts": [{"name": "default", "context": {"cluster": "default", "user": "default"}}],
        "clusters": [{"name": "default", "cluster": cluster}],
        "users": [{"name": "default", "user": user}],
    }
    (tmp_path / "k3s.yaml").write_text(yaml.safe_dump(tree))
    access = await Kubeconfig(str(tmp_path / "k3s.yaml"), "", lambda: 0.0, lambda: 0.0).access()
    assert (access.certificate, access.authority, access.token) == (b"chain\nkey", b"pem", "")


@pytest.mark.parametrize(
    ("user", "cluster", "said"),
    [
        ({"auth-provider": {"name": "oidc", "config": {}}}, {}, "use exec, such as kubelogin"),
        ({"username": "u", "password": "p"}, {}, "Kubernetes takes no passwords"),
        ({"token": "t", "as": "admin", "as-groups": ["g"]}, {}, "give this host a user of its own"),
        ({"token": "t"}, {"insecure-skip-tls-verify": True}, "always verified: name its certificate-authority"),
        ({"token": "t"}, {"proxy-url": "http://p:3128"}, "without a proxy"),
        ({"token": "t"}, {"server": 6443}, "server of the cluster is not text: put it in quotes"),
        ({"token": "t"}, {"server": "ftp://x"}, "not https"),
    ],
)
def test_cases_what_is_refused_is_refused_in_plain_words(user: Json, cluster: Json, said: str) -> None:
    with pytest.raises(Trouble, match=said) as raised:
        chosen(user, cluster)
    assert raised.value.reason is Reason.API_KUBECONFIG_UNUSABLE


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"command": None}, "names no command"),
        ({"command": ["aws", "eks"]}, "command of exec of context '.*' is not text"),
        ({"args": "eks get-token"}, "args of exec of context '.*' is not a list"),
        ({"args": [1]}, "a word of args .* is not text: put it in quotes"),
        ({"env": {"A": "1"}}, "env of exec .* is not a list"),
        ({"env": [{"value": "1"}]}, "an entry without a name"),
        ({"env": [{"name": "A", "value": True}]}, "A in env .* is not text: put it in quotes"),
        ({"env": [{"name": "A=B", "value": "1"}]}, "holds ="),
        ({"args": ["a\0b"]}, "holds a NUL"),
        ({"apiVersion": "client.authentication.k8s.io/v1alpha1"}, "v1alpha1"),
        ({"interactiveMode": "Always"}, "needs a terminal"),
    ],
)
def test_cases_an_exec_that_cannot_be_run_says_what_is_wrong(table: Json, said: str) -> None:
    with pytest.raises(Trouble, match=said) as raised:
        read_plugin(chosen({"exec": {**EKS, **table}}))
    assert raised.value.reason is Reason.API_KUBECONFIG_UNUSABLE


async def test_a_plugin_without_a_mapping_or_an_authority_is_named(kubectl: Kubectl) -> None:
    kubectl.write({"exec": "aws"})
    assert "is not a mapping" in (await kubectl.trouble()).detail
    kubectl.write({"token": "t"}, **{"certificate-authority": ""})
    assert "/etc/ssl/certs/ca-certificates.crt" in (await kubectl.trouble()).detail


@pytest.mark.parametrize("server", ["https://a..b:1", "https://[::1", "https://", "https://h:99999"])
async def test_a_server_that_is_no_name_is_trouble(kubectl: Kubectl, server: str) -> None:
    kubectl.write(server=server)
    assert (await kubectl.trouble()).reason is Reason.API_UNREACHABLE
