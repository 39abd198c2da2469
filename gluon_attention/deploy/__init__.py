"""Weights in, models out."""
