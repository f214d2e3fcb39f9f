"""fairlead: makes a host a dependable member of a Linkerd mesh, and keeps it one.

One circle, one direction: sources write Facts, `core.policy.decide` turns them into Goals, actuators
converge on the goals and write facts again, sinks only read. Who may import whom is a contract in
pyproject.toml, run by the tests.
"""

import os

__version__ = "0.1.0"

# gRPC's fork handlers run in a child between fork and exec, and die there (SIGABRT, SIGSEGV) when a stream is
# open in another thread: seen in 2 of 240 starts of a program under another uid, which Python makes by fork,
# not vfork. The child of such a start may be the proxy. Read when gRPC is first imported, so it stands here.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"
