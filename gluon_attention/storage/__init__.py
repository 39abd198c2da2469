"""Atomic files, locked folders, and `.params` files read without trust."""
