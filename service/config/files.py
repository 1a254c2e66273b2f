"""Reading the files that configure the service, of which none may make it wait or fill its memory."""

import errno
import os
import stat
from pathlib import Path

_MAX_BYTES = 1_048_576


def read_small_file(path: Path) -> bytes:
    """Return what a file holds.

    Raises `OSError` when it cannot be read, is no regular file, or holds more than 1 MiB. A pipe keeps its reader waiting
    for as long as nobody writes, and can be read only once, although the service reads its files again and again.
    """
    with open(path, "rb", opener=_open_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise OSError(errno.EFBIG, "it is larger than 1 MiB", str(path))
    return content


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
