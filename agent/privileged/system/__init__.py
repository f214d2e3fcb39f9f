"""What root reads and writes on this host: files, programs, sockets, subnets.

Law: files that other users may write are read here, defensively, and nowhere else.
"""
