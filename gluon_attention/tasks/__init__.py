"""Tasks: losses, the parameters that they train, and scores."""
