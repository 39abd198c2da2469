"""One function per data set: batches for training, validation and test."""

from .cifar import cifar10, cifar100
from .cub import cub200
from .detail import detail
from .imagenet import imagenet, imagenet_val
from .mnist import mnist
from .sampling import ArrayBatches, Batches, Splits, prefetch
from .stanford_dogs import stanford_dogs

__all__ = [
    "ArrayBatches",
    "Batches",
    "Splits",
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
