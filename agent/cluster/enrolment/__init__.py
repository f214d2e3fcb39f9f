"""An operator's side of enrolment: what a host needs in the cluster, made and removed, and its join bundle.

Law: every write is by the server (server-side apply), in the order of `core.enrol.objects`, so that a run that was
broken off is completed by the next one.
"""
