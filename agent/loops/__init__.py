"""The loops: asyncio, one coroutine per concern, typed by ports.

Law: a loop knows ports, core and the board; never an adapter, never another loop. It holds the setter of its
own fact and nothing else. It catches `ports.Trouble` and makes it a fact; every other exception leaves the
one TaskGroup and ends the process, which systemd starts again. Start is create_task, stop is cancellation
with cleanup in `finally`.
"""
