"""One function per data set: batches for training, validation and test."""

from .batches import ArrayBatches, Batches, Splits, prefetch
from .mnist import mnist

__all__ = ["ArrayBatches", "Batches", "Splits", "mnist", "prefetch"]
