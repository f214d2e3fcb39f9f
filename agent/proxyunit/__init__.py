"""The programs that systemd runs in fairlead-proxy.service: identity gate, launcher, hooks.

Law: none of them is a request to the privileged helper. Each imports little,
and works with the agent dead.
"""
