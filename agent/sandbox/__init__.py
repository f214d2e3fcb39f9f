"""The whole product on embedded stand-ins, on one machine, without changing its network.

Law: the sandbox knows core and ports and nothing else of fairlead; it runs the real agent, in a separate process.
Its parts (Workload API with CA, API server, stand-in proxy, network namespaces) are the verified fakes of the
tests: each passes the contract suite that the real thing passes.
"""

import os

# gRPC's fork handlers run in a child between fork and exec, and die there (SIGABRT, SIGSEGV) when a stream is
# open in another thread: seen in 2 of 240 starts of a program under another uid, which Python makes by fork,
# not vfork. Read when gRPC is first imported, so it stands here.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"
