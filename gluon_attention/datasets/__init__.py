"""Data sets: one function each, which returns training, validation and test samples."""

from .cifar import cifar10, cifar100
from .cub import cub200
from .detail import detail
from .imagenet import imagenet, imagenet_val
from .mnist import mnist
from .sampling import Batches, Samples, Splits, array_samples, prefetch
from .stanford_dogs import stanford_dogs

__all__ = [
    "Batches",
    "Samples",
    "Splits",
    "array_samples",
    "cifar10",
    "cifar100",
    "cub200",
    "detail",
    "imagenet",
    "imagenet_val",
    "mnist",
    "prefetch",
    "stanford_dogs",
]
