"""The privileged helper: one request on standard input, one answer, and it ends.

Law: no module imports it. A request names a verb and words of closed sets; each verb is one row in `verbs`.
"""
