"""Networks of this package in PyTorch: files that need neither this package nor MXNet."""
