"""`fairlead check`: what the cluster shows about hosts, judged by the registries in `core.doctor.cluster_checks`.

Law: it reads only, with the operator's rights. Each list is read once, however many hosts are checked; what this
user may not read makes its checks unknown, with the right that is missing.
"""
