"""Tensors in, tensors out: operators without parameters."""
