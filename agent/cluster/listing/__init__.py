"""`fairlead list`: the fleet as ExternalWorkloads and Leases show it, with or without a watcher.

Law: it reads only. Ages are shown by this machine's clock, and nothing is decided by them.
"""
