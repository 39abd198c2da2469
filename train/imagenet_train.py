"""Train a residual attention network on ImageNet, or on any folder of pictures laid out like it.

The same as `gluon-attention train imagenet`, for a checkout.
"""

from gluon_attention.command_line import command
from gluon_attention.commands.train.imagenet import main

if __name__ == "__main__":
    command(main)
