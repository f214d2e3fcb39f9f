"""The privileged helper: one request on standard input, one answer, and it ends.

Law: nobody imports it. A request names a verb and words of closed sets; each verb is one row in `verbs`.
"""
