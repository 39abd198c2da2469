"""Train RAM, a network that sees an image through a few small glimpses, on MNIST.

The same as `gluon-attention train mnist`, for a checkout.
"""

from gluon_attention.command_line import command
from gluon_attention.commands.train.mnist import main

if __name__ == "__main__":
    command(main)
