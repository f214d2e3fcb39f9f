"""The watcher: marks hosts whose Leases are no longer renewed as not ready, because a dead host cannot do it.

Law: times that others wrote are never read; every wait and age is counted on the clock that also runs while the
machine is suspended (CLOCK_BOOTTIME).
"""
