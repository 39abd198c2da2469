"""Train the glimpse network on Stanford Dogs, on other fine-grained sets, or on generated scenes.

The same as `gluon-attention train dogs`, for a checkout.
"""

from gluon_attention.command_line import command
from gluon_attention.commands.train.dogs import main

if __name__ == "__main__":
    command(main)
