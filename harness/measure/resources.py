"""What the measuring process used, read from the operating system; None where it cannot tell."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def peak_rss_bytes() -> int:
    """The largest resident set of this process so far, in bytes.

    Linux reads ``VmHWM``: ``ru_maxrss`` there survives exec, and so starts at the size of whatever
    process started this one. Elsewhere ``ru_maxrss``: bytes on macOS, KiB on the BSDs.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage if sys.platform == "darwin" else usage * 1024


def involuntary_switches() -> int:
    """How often this process was taken off a core while it could have gone on."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
