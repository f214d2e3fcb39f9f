"""fairlead: makes a host a dependable member of a Linkerd mesh, and keeps it one.

One circle, one direction: sources write Facts, `core.policy.decide` turns them into Goals, actuators
converge on the goals and write facts again, sinks only read. Who may import whom is a contract in
pyproject.toml, run by the tests.
"""

__version__ = "0.1.0"
