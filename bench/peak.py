"""The peak memory of a process, as recorded by the system."""

import resource
import sys


def megabytes(usage: resource.struct_rusage) -> float:
    """Peak memory in MiB, from `resource.getrusage` or `os.wait4`; Linux reports KiB, macOS bytes."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1024**2
