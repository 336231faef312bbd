"""What the CPU says of itself."""

from __future__ import annotations

import platform
from pathlib import Path


def cpuinfo() -> dict[str, str]:
    """What Linux tells of the first core; empty elsewhere."""
    fields: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if not line.strip():
                break
            key, _, value = line.partition(":")
            fields[key.strip()] = value.strip()
    except OSError:
        pass
    return fields


def int8_sums_overflow() -> bool:
    """Whether products of 8-bit weights and activations are summed in 16 bits, where they can saturate.

    So it is on x86 without VNNI (ONNX Runtime's documentation on quantisation: "reduce_range"); Arm and
    VNNI sum in 32 bits. An x86 that does not say what it has is taken to be without.
    """
    if platform.machine().lower() not in ("x86_64", "amd64", "i386", "i686"):
        return False
    return not any("vnni" in flag for flag in cpuinfo().get("flags", "").split())
