"""The composition root of the verbs that work with the agent dead, one module each.

Law: nothing is imported here. The gate runs before each start of the proxy, so imports delay a restart.
"""
