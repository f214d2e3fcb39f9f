"""One file per verb. Law: imports are lazy, so that a verb loads only what it needs; most verbs are clients
of the agent's socket.

A verb has a row in `main.VERBS`, and a module with DESCRIPTION, `arguments(parser)` and `run(args) -> exit code`.
"""
