"""The whole product on embedded stand-ins, on one machine, without changing its network.

Law: the sandbox knows core and ports and nothing else of fairlead; it runs the real agent, in a separate process.
Its parts (Workload API with CA, API server, stand-in proxy, network namespaces) are the verified fakes of the
tests: each passes the contract suite that the real thing passes.
"""
