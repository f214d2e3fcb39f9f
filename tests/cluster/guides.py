"""Manifests in the shapes of guides, and what `fairlead import` notes of each."""

GUIDES: dict[str, tuple[str, tuple[str, ...]]] = {
    "a group that Linkerd lacks": (
        """
apiVersion: workload.linkerd.io/v1alpha1
kind: WorkloadGroup
metadata: {name: legacy, namespace: NS}
spec:
  template:
    metadata: {labels: {app: legacy}}
    spec:
      ports: [{name: http, port: 8080}]
      probes:
        - httpGet: {path: /health, port: 8080, host: 127.0.0.1}
          interval: 15s
          timeout: 500ms
          failureThreshold: 3
        - exec: {command: [true]}
""",
        (
            "is not a kind of Linkerd's open source",
            "interval: 15s",
            "exec probe was removed",
            "the host of a probe",
        ),
    ),
    "a group of a vendor": (
        """
apiVersion: workload.buoyant.io/v1alpha1
kind: ExternalGroup
metadata: {name: smiley, namespace: NS}
spec:
  probes:
    - httpGet: {path: /ready, port: 4192, scheme: HTTP, host: 127.0.0.1}
      initialDelaySeconds: 5
      periodSeconds: 10
  template:
    metadata: {labels: {app: smiley}}
    ports: [{name: http, port: 8080}]
""",
        ("is not a kind of Linkerd's open source", "the host of a probe"),
    ),
    "a workload of the first version, with a status": (
        """
apiVersion: workload.linkerd.io/v1alpha1
kind: ExternalWorkload
metadata: {name: vm-1, namespace: NS, labels: {app: vm}}
spec:
  meshTls: {identity: "spiffe://root.linkerd.cluster.local/vm-1", serverName: vm-1.cluster.local}
  workloadIPs: [{ip: 192.0.2.1}]
  ports: [{port: 80, name: http}]
status:
  conditions: [{type: Ready, status: "True"}]
""",
        ("is written workload.linkerd.io/v1beta1", "its status was removed", "meshTls is written meshTLS"),
    ),
    "a member without meshTLS, with probes": (
        """
apiVersion: workload.linkerd.io/v1beta1
kind: ExternalWorkload
metadata: {name: vm-2, namespace: NS, labels: {app: vm, workloadGroup: legacy}}
spec:
  workloadIPs: [{ip: 192.0.2.2}]
  ports: [{port: 80}]
  probes: [{httpGet: {port: 80}}]
  workloadGroup: legacy
""",
        (
            "its probes were removed",
            "meshTLS.identity is spiffe://example.org/vm-2",
            "spec.workloadGroup was removed",
        ),
    ),
    "Endpoints beside a Service, and a Server for pods": (
        """
apiVersion: v1
kind: Service
metadata: {name: db, namespace: NS}
spec: {ports: [{port: 5432}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: db, namespace: NS}
subsets: [{addresses: [{ip: 192.0.2.3}, {ip: 192.0.2.4}], ports: [{port: 5432}]}]
---
apiVersion: policy.linkerd.io/v1beta1
kind: Server
metadata: {name: db, namespace: NS}
spec: {podSelector: {matchLabels: {app: db}}, port: 5432}
""",
        ("its address 192.0.2.4 is NS/db-2 now", "a podSelector never selects a host", "it is v1beta3"),
    ),
    "clients by patterns, for a Server and for a policy": (
        """
apiVersion: policy.linkerd.io/v1alpha1
kind: ServerAuthorization
metadata: {name: db, namespace: NS}
spec:
  server: {name: db}
  client:
    meshTLS: {identities: ["*.shop.serviceaccount.identity.linkerd.cluster.local", "spiffe://example.org/web"]}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: MeshTLSAuthentication
metadata: {name: all, namespace: NS}
spec: {identities: ["*"]}
---
apiVersion: policy.linkerd.io/v1beta1
kind: ServerAuthorization
metadata: {name: plain, namespace: NS}
spec: {server: {selector: {matchLabels: {app: db}}}, client: {unauthenticated: true}}
""",
        (
            "ServerAuthorization NS/db: the pattern *.shop.serviceaccount",
            "it is written policy.linkerd.io/v1beta1",
            "MeshTLSAuthentication NS/all: the pattern * never matches the SPIFFE ID of a host",
        ),
    ),
    "a tour: a host and pods behind one Service, and a policy for the pods": (
        """
apiVersion: workload.linkerd.io/v1alpha1
kind: ExternalWorkload
metadata: {name: vm-1, namespace: NS, labels: {place: vm, app: old}}
spec:
  meshTls: {identity: "spiffe://root.linkerd.cluster.local/vm-1", serverName: vm-1.cluster.local}
  workloadIPs: [{ip: 192.0.2.5}]
  ports: [{port: 80, name: http}]
status:
  conditions: [{type: Ready, status: "True", lastTransitionTime: "2024-01-02T03:04:05Z"}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: client, namespace: NS}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: NS, annotations: {linkerd.io/inject: enabled}}
spec:
  serviceAccountName: client
  containers: [{name: client, image: client, command: [sh, -c, "sleep 3600"]}]
---
apiVersion: v1
kind: Service
metadata: {name: old, namespace: NS}
spec: {type: ClusterIP, selector: {app: old}, ports: [{port: 80, protocol: TCP, name: one}]}
---
apiVersion: v1
kind: Service
metadata: {name: old-pods, namespace: NS}
spec: {clusterIP: None, selector: {app: old, place: cluster}, ports: [{port: 80, targetPort: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: old, namespace: NS}
spec:
  replicas: 1
  selector: {matchLabels: {app: old}}
  template:
    metadata: {labels: {app: old, place: cluster}, annotations: {linkerd.io/inject: enabled}}
    spec: {containers: [{name: old, image: old, ports: [{name: http, containerPort: 80}]}]}
---
apiVersion: policy.linkerd.io/v1beta2
kind: Server
metadata: {name: old, namespace: NS, annotations: {config.linkerd.io/default-inbound-policy: deny}}
spec: {podSelector: {matchLabels: {app: old}}, port: http, proxyProtocol: HTTP/1}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: old, namespace: NS}
spec:
  targetRef: {group: policy.linkerd.io, kind: Server, name: old}
  requiredAuthenticationRefs: [{name: vm-1, kind: MeshTLSAuthentication, group: policy.linkerd.io}]
---
apiVersion: policy.linkerd.io/v1alpha1
kind: MeshTLSAuthentication
metadata: {name: vm-1, namespace: NS}
spec: {identities: ["spiffe://root.linkerd.cluster.local/vm-1"]}
""",
        ("its podSelector selects the pods of Deployment NS/old, and never a host",),
    ),
    "an address that is not in a list": (
        """
apiVersion: workload.linkerd.io/v1alpha1
kind: ExternalWorkload
metadata: {name: vm-1, namespace: NS, labels: {name: vm-1}}
spec:
  meshTls: {identity: "spiffe://root.linkerd.cluster.local/vm-1", serverName: vm-1.cluster.local}
  workloadIPs:
    ip: 192.0.2.6
  ports: [{port: 80, name: http}, {port: 9980, name: admin}]
---
apiVersion: v1
kind: Service
metadata: {name: vm, namespace: NS}
spec: {selector: {name: vm-1}, ports: [{port: 80, name: http}, {port: 9980, name: admin}]}
""",
        ("workloadIPs is written as a list",),
    ),
    "a group with short probes, members that inherit, and a policy": (
        """
apiVersion: workload.linkerd.io/v1beta1
kind: WorkloadGroup
metadata: {name: cache, namespace: NS, labels: {app: cache}}
spec:
  template:
    metadata: {labels: {app: cache, tier: back}, annotations: {linkerd.io/inject: enabled}}
    spec:
      ports: [{name: cache, port: 6379, protocol: TCP}, {name: watch, port: 26379, protocol: TCP}]
      probes:
        - {path: /health, port: 8080, period: 15s, timeout: 3s, failureThreshold: 3}
        - {tcpSocket: {port: cache}}
  meshTLS: {identity: "spiffe://example.org/cache"}
---
apiVersion: workload.linkerd.io/v1beta1
kind: ExternalWorkload
metadata: {name: cache-1, namespace: NS, labels: {workloadGroup: cache, instance: "1"}}
spec: {workloadIPs: [{ip: 192.0.2.7}], ports: [{name: more, port: 9121, protocol: TCP}]}
---
apiVersion: workload.linkerd.io/v1beta1
kind: ExternalWorkload
metadata: {name: cache-2, namespace: NS, labels: {workloadGroup: cache, instance: "2"}}
spec: {workloadIPs: [{ip: 192.0.2.8}]}
---
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: cache, namespace: NS}
spec: {podSelector: {matchLabels: {tier: back}}, port: 6379, proxyProtocol: opaque}
---
apiVersion: policy.linkerd.io/v1beta1
kind: ServerAuthorization
metadata: {name: cache, namespace: NS}
spec: {server: {name: cache}, client: {meshTLS: {serviceAccounts: [{name: web}]}}}
""",
        (
            "path and port of a probe are written below httpGet",
            "period: 15s of a probe is written periodSeconds: 15",
            "port: cache of a probe is written 6379",
            "spiffe://example.org/cache is one for all members; it is spiffe://example.org/{name}, by --identity",
            "cache-1: labels app, tier: as in WorkloadGroup NS/cache",
            "cache-1: port 6379, 26379: as in WorkloadGroup NS/cache",
            "cache-2: meshTLS.identity is spiffe://example.org/cache-2",
            "Server NS/cache: podSelector is externalWorkloadSelector",
        ),
    ),
}
