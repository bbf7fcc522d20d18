"""What glibc does with the memory of tensors that are no longer there.

torch asks for aligned memory, and glibc before 2.38 (Debian 12 has 2.36) does not give such a block the place that one
of the same size has left: the heap grows with every pass over a layer, to more than twice of what is in use. A block of
its own mapping goes back to the system when it is freed. By itself glibc stops to make mappings for blocks as large as
the largest that it has seen freed, up to 32 MiB.
"""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
OWN_MAPPING = 8 * 2**20
"""Bytes from which a block has its own mapping: a mapping costs page faults, which small rows need not pay for."""
KEPT_FREE = 64 * 2**20
"""Free bytes at the end of the heap that are kept for the next block, as many as glibc arrives at by itself."""


def give_back_what_is_freed() -> bool:
    """Lets large tensors go back to the system. False where the C library has no such setting."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(M_MMAP_THRESHOLD, OWN_MAPPING) and mallopt(M_TRIM_THRESHOLD, KEPT_FREE))
