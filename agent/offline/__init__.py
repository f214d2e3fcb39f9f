"""The composition root of the verbs that work with the agent dead, one module each.

Law: nothing is imported here. The gate stands between a dead proxy and the next, and pays for what it loads.
"""
