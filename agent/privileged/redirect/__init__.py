"""The redirect as root sets it: from the approved configuration to rules in the kernel, tested or reverted.

Law: no rule is set that was not derived from root-owned files; every change is one transaction that can be
reverted.
"""
