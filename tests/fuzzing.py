"""What fuzz tests share: damage to the bytes of a file, and the memory and time of a reader."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Iterator

from hypothesis import strategies as st

MEMORY = 1 << 30  # bytes that a case may take beyond what the process has
SECONDS = 30  # of CPU that a case may take

# A share of the content to keep, edits (place, bytes to remove, bytes to insert), and a tail.
DAMAGE = st.tuples(
    st.one_of(st.just(1.0), st.just(1.0), st.floats(0, 1)),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 4), st.binary(max_size=4)), max_size=6),
    st.one_of(st.just(b""), st.binary(max_size=20)),
)


def damaged(content: bytes, draw: Any) -> bytes:
    """The content with the damage that `DAMAGE` has drawn."""
    keep, edits, tail = draw
    damaged = bytearray(content[: int(keep * len(content))])
    for place, removed, inserted in edits:
        start = int(place * len(damaged))
        damaged[start : start + removed] = inserted
    return bytes(damaged) + tail


@contextmanager
def bounded(memory: int = MEMORY, seconds: float = SECONDS) -> Iterator[None]:
    """Fails where the block needs more memory, or more seconds of CPU."""
    with suppress(OSError):  # a kernel without it keeps the peak since the process began
        Path("/proc/self/clear_refs").write_text("5")  # begins a new peak
    before, start = _resident("VmRSS"), time.process_time()
    yield
    peak, elapsed = _resident("VmHWM") - before, time.process_time() - start
    assert peak <= memory, f"{peak >> 20} MB were taken, more than {memory >> 20}"
    assert elapsed <= seconds, f"{elapsed:.0f} seconds of CPU were taken, more than {seconds:g}"


def _resident(field: str) -> int:
    """Bytes of this process in memory: VmRSS now, VmHWM at the peak."""
    match = re.search(rf"^{field}:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    assert match
    return 1024 * int(match[1])
