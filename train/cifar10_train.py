"""Train a residual attention network on CIFAR-10 or CIFAR-100.

The same as `gluon-attention train cifar10`, for a checkout.
"""

from gluon_attention.command_line import command
from gluon_attention.commands.train.cifar10 import main

if __name__ == "__main__":
    command(main)
