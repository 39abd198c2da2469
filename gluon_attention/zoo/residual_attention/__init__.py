"""Residual Attention Network."""
