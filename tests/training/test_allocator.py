"""Memory of tensors that are gone goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes
import sys
import torch
from hearth_trainer.allocator import OWN_MAPPING, give_back_what_is_freed

class Blocks(ctypes.Structure):
    # struct mallinfo2: ten numbers, of which hblkhd is the bytes in mappings of their own.
    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", *"fghij")]

def mapped():
    told = ctypes.CDLL(None).mallinfo2
    told.restype = Blocks
    return told().hblkhd

if sys.argv[1] == "set":
    assert give_back_what_is_freed()
torch.empty(3 * OWN_MAPPING, dtype=torch.uint8)  # freed at once: glibc has seen a larger block
before = mapped()
kept = torch.empty(2 * OWN_MAPPING, dtype=torch.uint8)
print(mapped() - before >= 2 * OWN_MAPPING)
"""


@pytest.mark.parametrize(("allocator", "own_mapping"), [("as it is", "False"), ("set", "True")])
def test_a_large_tensor_has_its_own_mapping_whatever_was_freed_before(allocator: str, own_mapping: str) -> None:
    command = [sys.executable, "-c", PROGRAM, allocator]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == own_mapping
