"""The peak memory that the system has counted for a process."""

import resource
import sys


def megabytes(usage: resource.struct_rusage) -> float:
    """In MiB, of what `resource.getrusage` or `os.wait4` says; Linux counts in KiB, macOS in bytes."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1024**2
