"""What runs off the host: enrolment, and the watcher that takes dead hosts out. Nothing of it is built yet.

Law: it knows core and ports; the daemon never imports it, so that what it needs is not resident on hosts.
"""
