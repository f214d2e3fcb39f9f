"""Judgements of `fairlead check`: what only the cluster shows about hosts.

Law: as of `core.doctor`. Kubernetes' objects have been read into the values of `seen`; nothing here knows JSON but
`installed`, which compares two objects.
"""
