"""What runs off the host: enrolment, and the watcher that takes dead hosts out of load balancing.

Law: the daemon never imports it, so that what it needs is not resident on hosts.
"""
