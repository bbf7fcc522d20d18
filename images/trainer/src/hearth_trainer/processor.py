"""What the processor can do."""

from __future__ import annotations

from pathlib import Path

BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")
"""Flags of /proc/cpuinfo: x86 with AVX-512 BF16 or AMX, Arm with BF16. Without them such arithmetic is emulated."""


def has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether matrices are multiplied faster in bfloat16 than in float32."""
    try:
        text = cpuinfo.read_text(encoding="utf-8")
    except OSError:
        return False
    lines = (line for line in text.splitlines() if line.startswith(("flags", "Features")))
    flags = set(next(lines, "").split())
    return any(flag in flags for flag in BFLOAT16)
