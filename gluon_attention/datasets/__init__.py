"""Data sets: one function each, which returns training, validation and test samples.

Several of them have these arguments:

- `root`, the folder of their files, and `download`, whether missing files are downloaded;
- `size`, the side of the inputs, and `augment`, whether training pictures are cropped and flipped
  at random;
- `validation` and `seed`, the number of images held out of the training set, and their seed. It is
  limited to a tenth of the training set, except for the published files of MNIST and CIFAR;
- `workers`, the number of threads that decode pictures.
"""

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
