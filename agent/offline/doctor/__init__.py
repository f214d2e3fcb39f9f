"""Composition root of `fairlead doctor`: takes the readings of its checks, also with the agent dead.

Law: it changes nothing on the host or in the cluster, and does not wait for an answer beyond its time limit. SPIRE
and the API server know a caller by its user, so what concerns the agent or the proxy is asked by a process of that
user.
"""
