"""One file per verb. Law: imports are lazy, so that a verb loads only what it needs; most verbs are clients
of the agent's socket.

A verb module has HELP (one line), DESCRIPTION, `arguments(parser)` and `run(args) -> exit code`.
"""
