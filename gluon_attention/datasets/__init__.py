"""One function per data set: batches for training, validation and test."""

from .batches import ArrayBatches, Batches, Splits, prefetch

__all__ = ["ArrayBatches", "Batches", "Splits", "prefetch"]
