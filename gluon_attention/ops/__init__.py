"""Operators without parameters: crops, resizing, and workarounds for MXNet."""
