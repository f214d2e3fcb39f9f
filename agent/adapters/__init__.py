"""One outside thing each, ignorant of each other, each behind a port.

Law: an adapter knows ports and core. It turns the expected trouble of its outside thing into `ports.Trouble`
with a reason, keeps every call bounded in time and size, and lets the unexpected crash.
"""
