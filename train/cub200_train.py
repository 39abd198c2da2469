"""Train RA-CNN, which zooms in on a part of the image, on birds or on generated scenes.

The same as `gluon-attention train cub200`, for a checkout.
"""

from gluon_attention.command_line import command
from gluon_attention.commands.train.cub200 import main

if __name__ == "__main__":
    command(main)
