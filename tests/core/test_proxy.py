import dataclasses
import json
from typing import Any

import pytest

from agent.core import proxy
from agent.core.facts import UNKNOWN, ProxyState
from agent.core.proxy import ProxySettings, Reading, Refused, environment, judge
from agent.core.proxy_pages import read_metrics
from agent.core.reasons import Reason

SETTINGS = ProxySettings(
    version="2.366.0",
    workload="db-1",
    namespace="mixed",
    identity="spiffe://root.example/db-1",
    server_name="db-1.mixed.example",
    addresses=("192.0.2.7",),
    workload_api="/run/spire/agent.sock",
    ports=(8080, 9090),
    cluster_networks=("10.0.0.0/8", "fd00::/8"),
)
PEM = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n"


def variables(**changes: Any) -> dict[str, str]:
    return environment(dataclasses.replace(SETTINGS, **changes), PEM)


def value(name: str, **changes: Any) -> str | None:
    return variables(**changes).get(f"LINKERD2_PROXY_{name}")


# the environment


def test_the_whole_environment() -> None:
    destination = "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local"
    expected = {
        "IDENTITY_SPIRE_WORKLOAD_API_ADDRESS": "/run/spire/agent.sock",
        "IDENTITY_SERVER_ID": "spiffe://root.example/db-1",
        "IDENTITY_SERVER_NAME": "db-1.mixed.example",
        "IDENTITY_TRUST_ANCHORS": PEM,
        "INBOUND_LISTEN_ADDR": "0.0.0.0:4143",
        "OUTBOUND_LISTEN_ADDRS": "127.0.0.1:4140",
        "ADMIN_LISTEN_ADDR": "127.0.0.1:4191",
        "DESTINATION_SVC_ADDR": "linkerd-dst-headless.linkerd.svc.cluster.local.:8086",
        "DESTINATION_SVC_NAME": destination,
        "DESTINATION_CONTEXT": '{"ns":"mixed"}',
        "DESTINATION_PROFILE_SUFFIXES": "svc.cluster.local.",
        "DESTINATION_PROFILE_NETWORKS": "10.0.0.0/8,fd00::/8",
        "POLICY_SVC_ADDR": "linkerd-policy.linkerd.svc.cluster.local.:8090",
        "POLICY_SVC_NAME": destination,
        "POLICY_WORKLOAD": '{"ns":"mixed","external_workload":"db-1"}',
        "POLICY_CLUSTER_NETWORKS": "10.0.0.0/8,fd00::/8",
        "CONTROL_STREAM_INITIAL_TIMEOUT": "3s",
        "CONTROL_STREAM_IDLE_TIMEOUT": "5m",
        "CONTROL_STREAM_LIFETIME": "1h",
        "INBOUND_IPS": "192.0.2.7",
        "INBOUND_PORTS": "8080,9090",
        "INBOUND_DEFAULT_POLICY": "all-unauthenticated",
        "INBOUND_ACCEPT_KEEPALIVE": "10s",
        "OUTBOUND_CONNECT_KEEPALIVE": "10s",
        "LOG": "warn,linkerd=info,hickory=error",
        "LOG_FORMAT": "plain",
        "CORES": "1",
        "SHUTDOWN_GRACE_PERIOD": "120s",
    }
    assert variables() == {f"LINKERD2_PROXY_{name}": text for name, text in expected.items()}


@pytest.mark.parametrize(
    ("version", "present", "absent"),
    [
        ("2.220.0", "IDENTITY_SPIRE_SOCKET", "IDENTITY_SPIRE_WORKLOAD_API_ADDRESS"),
        ("v2.303.9", "IDENTITY_SPIRE_SOCKET", "IDENTITY_SPIRE_WORKLOAD_API_ADDRESS"),
        ("2.304.0", "IDENTITY_SPIRE_WORKLOAD_API_ADDRESS", "IDENTITY_SPIRE_SOCKET"),
        ("v2.331.0", "IDENTITY_SPIRE_WORKLOAD_API_ADDRESS", "IDENTITY_SPIRE_SOCKET"),
        ("2.227.0", "OUTBOUND_LISTEN_ADDR", "OUTBOUND_LISTEN_ADDRS"),
        ("2.228.0", "OUTBOUND_LISTEN_ADDRS", "OUTBOUND_LISTEN_ADDR"),
    ],
)
def test_names_follow_the_version(version: str, present: str, absent: str) -> None:
    assert value(present, version=version)
    assert value(absent, version=version) is None


@pytest.mark.parametrize(
    ("addresses", "inbound", "outbound"),
    [
        (("192.0.2.7",), "0.0.0.0:4143", "127.0.0.1:4140"),
        (("2001:db8::7",), "[::]:4143", "[::1]:4140"),
        (("192.0.2.7", "2001:db8::7"), "[::]:4143", "127.0.0.1:4140,[::1]:4140"),
    ],
)
def test_listeners_follow_the_families(addresses: tuple[str, ...], inbound: str, outbound: str) -> None:
    assert value("INBOUND_LISTEN_ADDR", addresses=addresses) == inbound
    assert value("OUTBOUND_LISTEN_ADDRS", addresses=addresses) == outbound


def test_a_proxy_that_knows_one_outbound_listener_gets_one() -> None:
    assert (
        value("OUTBOUND_LISTEN_ADDR", addresses=("192.0.2.7", "2001:db8::7"), version="2.227.0")
        == "127.0.0.1:4140"
    )


def test_control_plane_of_another_name() -> None:
    changes = {"control_namespace": "mesh", "cluster_domain": "k8s.example", "trust_domain": "root.example"}
    assert value("DESTINATION_SVC_ADDR", **changes) == "linkerd-dst-headless.mesh.svc.k8s.example.:8086"
    assert value("POLICY_SVC_ADDR", **changes) == "linkerd-policy.mesh.svc.k8s.example.:8090"
    assert value("DESTINATION_PROFILE_SUFFIXES", **changes) == "svc.k8s.example."
    name = "linkerd-destination.mesh.serviceaccount.identity.mesh.root.example"
    assert value("DESTINATION_SVC_NAME", **changes) == value("POLICY_SVC_NAME", **changes) == name


def test_control_plane_addresses_that_are_given_stand() -> None:
    assert value("DESTINATION_SVC_ADDR", destination="127.0.0.1:1") == "127.0.0.1:1"
    assert value("POLICY_SVC_ADDR", policy="127.0.0.1:2") == "127.0.0.1:2"


def test_nothing_is_ever_set_and_empty() -> None:
    """Some variables then fail, and an empty Workload API address selects another mode."""
    assert all(variables(ports=(), cluster_networks=(), log="info").values())
    assert value("INBOUND_PORTS", ports=()) is None
    assert value("POLICY_CLUSTER_NETWORKS", cluster_networks=()) is None


def test_names_with_quotes_stay_json() -> None:
    text = value("POLICY_WORKLOAD", workload='a"b')
    assert text is not None
    assert json.loads(text) == {"ns": "mixed", "external_workload": 'a"b'}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"version": "2.329.0"}, "2.331"),
        ({"version": "2.330.1"}, "2.331"),
        ({"version": "2.219.9"}, "2.220"),
        ({"version": "latest"}, "'latest'"),
        ({"log": "wran,linkerd=info"}, "'wran'"),
        ({"log": "warn,linkerd=loud"}, "'linkerd=loud'"),
        ({"log": ""}, "''"),
        ({"default_inbound_policy": "cluster-authenticated", "cluster_networks": ()}, "cluster networks"),
        ({"addresses": ()}, "address"),
    ],
)
def test_what_must_not_reach_a_proxy_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(Refused, match="cannot configure the proxy: ") as refused:
        variables(**changes)
    assert told in str(refused.value)
    assert refused.value.fault.reason is Reason.PROXY_CONFIGURATION_REFUSED


@pytest.mark.parametrize(
    "log", ["info", "WARN,linkerd=debug", "warn, linkerd_app::x=trace", "off,linkerd[inbound{port=1}]=info"]
)
def test_log_filters_that_work_are_taken(log: str) -> None:
    assert value("LOG", log=log) == log


# readings

UID = 2102
READY = Reading(True, True, 2000.0, True, True, frozenset({UID}), 0)
SILENT = Reading()


@pytest.mark.parametrize(
    ("changes", "state", "reason"),
    [
        ({}, ProxyState.READY, None),
        ({"in_flight": UNKNOWN}, ProxyState.READY, None),
        # certified?
        ({"certificate_expires": 0.0}, ProxyState.NOT_READY, Reason.PROXY_UNCERTIFIED),
        ({"certificate_expires": 0.0, "ready": False}, ProxyState.STARTING, Reason.PROXY_UNCERTIFIED),
        ({"certificate_expires": 0.0, "ready": UNKNOWN}, ProxyState.NOT_READY, Reason.PROXY_UNCERTIFIED),
        ({"certificate_expires": 1000.0}, ProxyState.NOT_READY, Reason.PROXY_CERTIFICATE_EXPIRED),
        ({"certificate_expires": 1000.1}, ProxyState.READY, None),
        ({"certificate_expires": UNKNOWN}, ProxyState.UNREADABLE, Reason.PROXY_UNREADABLE),
        # listeners
        ({"inbound_listening": False}, ProxyState.NOT_READY, Reason.PROXY_LISTENER_ABSENT),
        ({"outbound_listening": False}, ProxyState.NOT_READY, Reason.PROXY_LISTENER_ABSENT),
        ({"inbound_listening": UNKNOWN}, ProxyState.UNREADABLE, Reason.PROXY_UNREADABLE),
        ({"listener_uids": frozenset({0, UID})}, ProxyState.NOT_READY, Reason.PROXY_LISTENER_FOREIGN),
        ({"listener_uids": frozenset({0})}, ProxyState.NOT_READY, Reason.PROXY_LISTENER_FOREIGN),
        ({"listener_uids": UNKNOWN}, ProxyState.UNREADABLE, Reason.PROXY_UNREADABLE),
        # live and ready
        ({"ready": False}, ProxyState.STARTING, Reason.PROXY_STARTING),
        ({"ready": UNKNOWN}, ProxyState.UNREADABLE, Reason.PROXY_UNREADABLE),
        ({"live": False}, ProxyState.STARTING, Reason.PROXY_STARTING),
        ({"live": UNKNOWN}, ProxyState.UNREADABLE, Reason.PROXY_UNREADABLE),
        ({"live": UNKNOWN, "ready": False}, ProxyState.STARTING, Reason.PROXY_STARTING),
        # the zombie: started without a Workload API socket, it says ready and has let its listeners go
        (
            {"certificate_expires": 0.0, "inbound_listening": False, "outbound_listening": False},
            ProxyState.NOT_READY,
            Reason.PROXY_UNCERTIFIED,
        ),
    ],
)
def test_judgement(changes: dict[str, Any], state: ProxyState, reason: Reason | None) -> None:
    found, fault, _ = judge(dataclasses.replace(READY, **changes), UID, 1000.0)
    assert (found, fault.reason if fault else None) == (state, reason)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"certificate_expires": 0.0}, Reason.PROXY_UNCERTIFIED),
        ({"certificate_expires": 900.0}, Reason.PROXY_CERTIFICATE_EXPIRED),
        ({"inbound_listening": False}, Reason.PROXY_LISTENER_ABSENT),
        ({"listener_uids": frozenset({0})}, Reason.PROXY_LISTENER_FOREIGN),
    ],
)
def test_a_known_fault_beats_what_cannot_be_read(changes: dict[str, Any], reason: Reason) -> None:
    state, fault, _ = judge(dataclasses.replace(SILENT, **changes), UID, 1000.0)
    assert (state, fault.reason if fault else None) == (ProxyState.NOT_READY, reason)


def test_what_was_ready_does_not_start_any_more() -> None:
    closed = dataclasses.replace(SILENT, live=False, inbound_listening=False, outbound_listening=False)
    assert judge(closed, UID, 1000.0)[0] is ProxyState.STARTING
    state, fault, _ = judge(closed, UID, 1000.0, seen_ready=True)
    assert (state, fault and fault.reason) == (ProxyState.NOT_READY, Reason.PROXY_LISTENER_ABSENT)


@pytest.mark.parametrize(("expires", "left"), [(1600.0, 600.0), (900.0, -100.0), (0.0, None), (UNKNOWN, None)])
def test_seconds_of_certificate_left(expires: Any, left: float | None) -> None:
    assert judge(dataclasses.replace(READY, certificate_expires=expires), UID, 1000.0)[2] == left


def test_the_unreadable_parts_are_named() -> None:
    fault = judge(dataclasses.replace(READY, live=UNKNOWN, ready=UNKNOWN), UID, 1000.0)[1]
    assert fault is not None
    assert fault.detail == "cannot read live, ready"


# metrics, as linkerd2-proxy 2.366 gives them

POLICY = 'tls="no_identity",no_tls_reason="no_tls_from_remote",srv_group="",srv_kind="default",srv_name="x"'


def opened(direction: str, peer: str, target: str, count: int) -> str:
    ip, _, port = target.rpartition(":")
    where = f'target_addr="{target}",target_ip="{ip.strip("[]")}",target_port="{port}"'
    return f'tcp_open_connections{{direction="{direction}",peer="{peer}",{where},{POLICY}}} {count}\n'


METRICS = (
    "# HELP tcp_open_connections Number of currently-open connections\n"
    + opened("inbound", "src", "192.0.2.7:8080", 3)
    + opened("inbound", "src", "[2001:db8::7]:8080", 2)
    + opened("inbound", "src", "127.0.0.1:4191", 1)
    + opened("outbound", "src", "10.1.2.3:80", 7)
    + 'tcp_open_connections{direction="inbound",peer="dst",tls="no_identity",no_tls_reason="loopback"} 5\n'
    + opened("inbound", "src", "192.0.2.7:9090", 0).replace("tcp_open_connections", "tcp_open_total")
    + "control_identity_cert_expiration_timestamp_seconds 1795253702.0\n"
)


def test_metrics_give_expiry_and_open_inbound_connections() -> None:
    assert read_metrics(METRICS + "# EOF\n") == (1795253702.0, 5)


def test_metrics_that_were_cut_off_count_nothing() -> None:
    assert read_metrics(METRICS) == (1795253702.0, UNKNOWN)


def test_metrics_of_an_idle_proxy_count_zero() -> None:
    assert read_metrics("control_identity_cert_expiration_timestamp_seconds 0.0\n# EOF\n") == (0.0, 0)


def test_metrics_without_the_certificate_leave_it_unknown() -> None:
    assert read_metrics("process_threads 2\n# EOF") == (UNKNOWN, 0)


def test_metrics_of_the_first_proxies_that_know_spire() -> None:
    assert read_metrics("identity_cert_expiration_timestamp_seconds 12.5\n# EOF")[0] == 12.5


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("LINKERD2_PROXY_OUTBOUND_CONNECT_TIMEOUT", "2s", ""),
        ("OTEL_RESOURCE_ATTRIBUTES", "zone=a", ""),
        ("LINKERD2_PROXY_OUTBOUND_CONNECT_TIMEOUT", "", "is empty"),
        ("LD_PRELOAD", "/x.so", "is not the proxy's"),
        ("LINKERD2_PROXY_LOG", "debug", "proxy.log"),
        ("LINKERD2_PROXY_INBOUND_IPS", "10.0.0.1", "host.addresses"),
        ("LINKERD2_PROXY_IDENTITY_DISABLED", "1", "fairlead's to set"),
        ("LINKERD2_PROXY_LINKERD2_PROXY_IDENTITY_SPIRE_EXP_BACKOFF_MIN", "1s", "fairlead's to set"),
        ("LINKERD2_PROXY_INBOUND_LISTEN_ADDR", "0.0.0.0:1", "fairlead's to set"),
        ("LINKERD2_PROXY_ADMIN_LISTEN_ADDR", "0.0.0.0:4191", "fairlead's to set"),
        ("LINKERD2_PROXY_SHUTDOWN_ENDPOINT_ENABLED", "true", "fairlead's to set"),
        ("LINKERD2_PROXY_POLICY_WORKLOAD", "{}", "fairlead's to set"),
    ],
)
def test_what_an_operator_may_add(name: str, value: str, wrong: str) -> None:
    found = proxy.why_not_extra(name, value)
    assert (wrong in (found or "")) if wrong else found is None, found


def test_what_is_added_reaches_the_proxy() -> None:
    assert value("OUTBOUND_CONNECT_TIMEOUT", extra=(("LINKERD2_PROXY_OUTBOUND_CONNECT_TIMEOUT", "2s"),)) == "2s"


def test_what_people_see_of_the_environment_holds_no_secret() -> None:
    found = proxy.masked(
        {**variables(), "LINKERD2_PROXY_X_TOKEN": "hush", "LINKERD2_PROXY_IDENTITY_TOKEN_FILE": "/t"}
    )
    assert found["LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS"] == "<1 certificates>"
    assert found["LINKERD2_PROXY_X_TOKEN"] == "<masked>"
    assert found["LINKERD2_PROXY_IDENTITY_TOKEN_FILE"] == "/t"


def test_ports_are_linkerds() -> None:
    assert (proxy.INBOUND_PORT, proxy.OUTBOUND_PORT, proxy.ADMIN_PORT) == (4143, 4140, 4191)
