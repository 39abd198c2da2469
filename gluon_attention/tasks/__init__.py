"""Tasks: what trains a network, and by which scores it is measured."""
