"""What root reads and writes on this host: files, programs, sockets, subnets.

Law: what other users may write is read with care here, and nowhere else.
"""
