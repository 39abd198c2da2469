"""One function per data set: batches for training, validation and test."""

from .batches import ArrayBatches, Batches, Splits, prefetch
from .cifar import cifar10, cifar100
from .imagenet import imagenet, imagenet_val
from .mnist import mnist

__all__ = [
    "ArrayBatches",
    "Batches",
    "Splits",
    "cifar10",
    "cifar100",
    "imagenet",
    "imagenet_val",
    "mnist",
    "prefetch",
]
