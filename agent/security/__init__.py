"""Secrets, TLS and signatures: read, hidden and checked in one place."""
