"""What `fairlead support` collects on a host, and the archive that it makes of it.

Law: it reads only, needs neither agent nor API server, and no part waits longer than its own time. A part that
fails is named in the archive. Nothing leaves unscrubbed, and no file that holds a credential is a part.
"""
