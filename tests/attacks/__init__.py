"""Tests that play an attacker. The table in docs/security.md names each of them."""
