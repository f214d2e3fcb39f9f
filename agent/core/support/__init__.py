"""What leaves the host in an archive of `fairlead support`: which values are secret, and text without them.

Law: text in, text out. Rather a word too many is removed than a secret kept, and time grows with the length of the
text, whatever is in it.
"""
