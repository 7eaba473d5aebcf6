"""What a process does with memory that it has freed."""

import ctypes
import os

#: malloc's settings by their numbers in glibc's malloc.h, and bytes: freed memory beyond the first goes back to the
#: system, and what is larger than the second gets pages of its own
TRIM_THRESHOLD, MMAP_THRESHOLD = (-1, 256 << 20), (-3, 32 << 20)


def keep_freed() -> bool:
    """Let this process keep the memory that it frees, for the next batch; say whether malloc takes such settings.

    By default glibc hands each batch's tensors back to the system and gets new pages for the next one, whose first
    touch takes longer than copying an image does. Where the environment has settings of malloc they stay, and so does
    another malloc as it is (macOS, Windows, musl).
    """
    if any(name.startswith("MALLOC_") for name in os.environ) or "GLIBC_TUNABLES" in os.environ:
        return False
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no such function; TypeError: Windows has no library of the process
        return False
    taken = [set_option(*setting) for setting in (TRIM_THRESHOLD, MMAP_THRESHOLD)]
    return all(taken)
