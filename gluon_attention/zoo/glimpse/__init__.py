"""Attention for fine-grained categorization."""
