"""The seal of ckvsim's files (sim/report/sealed_file.cpp): their first 512 bytes hold kind, length
and hash of the rest. Checked before HDF5 sees the file, because its parser can crash on damage."""
import os
import re

from .errors import DataError

try:
    import xxhash
except ModuleNotFoundError:  # the length is checked all the same
    xxhash = None

SEAL_BYTES = 512
_BLOCK_BYTES = 1 << 20  # each block's hash seeds the next
_ADVICE = ". pass a file written by `ckvsim run`"


def _hash(file):
    value = 0
    while block := file.read(_BLOCK_BYTES):
        value = xxhash.xxh3_64_intdigest(block, value)
    return f"{value:016x}"


def _refuse(path, start):
    if start.startswith(b"ckvsim dataset, "):
        raise DataError(path, "is a ckvsim dataset, not a report" + _ADVICE)
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        raise DataError(path, "is an HDF5 file but not a ckvsim report" + _ADVICE)
    raise DataError(path, "is not a ckvsim report, or its beginning is damaged" + _ADVICE)


def check(path):
    """DataError unless the file is a report as it was written. OSError when it cannot be read."""
    with open(path, "rb") as file:
        start = file.read(SEAL_BYTES)
        found = re.search(rb"\nbytes (\d+)\nxxh3 ([0-9a-f]{16})\n", start)
        if not start.startswith(b"ckvsim report, ") or found is None:
            _refuse(path, start)
        size = os.fstat(file.fileno()).st_size - SEAL_BYTES
        sealed = int(found[1])
        if size < sealed:
            raise DataError(path, f"is truncated: {size} of {sealed} bytes. "
                                  "make or copy it again")
        if size != sealed or (xxhash and _hash(file) != found[2].decode()):
            raise DataError(path, "was damaged or changed after it was written. "
                                  "make or copy it again")


def renew(path):
    """Seals a file again whose content was changed on purpose; for tests."""
    with open(path, "r+b") as file:
        start = file.read(SEAL_BYTES)
        size = os.fstat(file.fileno()).st_size - SEAL_BYTES
        digest = _hash(file).encode() if xxhash else b"0" * 16
        start = re.sub(rb"\nbytes \d+\nxxh3 [0-9a-f]{16}\n",
                       b"\nbytes %d\nxxh3 %s\n" % (size, digest), start).rstrip(b"\0")
        file.seek(0)
        file.write(start.ljust(SEAL_BYTES, b"\0"))
