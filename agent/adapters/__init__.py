"""One adapter for each external system, independent of each other, each behind a port.

Law: an adapter knows ports and core. It turns the expected trouble of its system into `ports.Trouble` with a
reason, bounds every call in time and size, and lets unexpected exceptions through.
"""
