"""Runs before MXNet is imported: threads, numpy aliases, CUDA libraries, one clear error."""
import os


def prepare() -> None:
    """Make `import mxnet` work and fast."""
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))
