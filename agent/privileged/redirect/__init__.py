"""Sets the redirect as root: from the approved configuration to rules in the kernel, tested or reverted.

Law: every rule is derived from root-owned files; every change is one transaction that can be
reverted.
"""
