"""Atomic writes, locked folders, and readers of untrusted files."""
