"""The whole product on embedded stand-ins, on one machine, without touching its network.

Law: the sandbox knows core and ports and nothing else of fairlead; the agent that it runs is the real one, in
a process of its own. Its parts (Workload API with CA, API server, stand-in proxy, network namespaces) are the
verified fakes of the tests: each passes the contract suite that the real thing passes.
"""
