"""Networks of this package in PyTorch, as files that need neither this package nor MXNet."""
