#!/usr/bin/python3
"""The reader printed in sim/docs/tensor_file.md must read a file laid out as that page says."""
import re
import struct
import sys
import tempfile
import unittest
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "sim/docs/tensor_file.md"


def text(value):
    data = value.encode()
    return struct.pack("<I", len(data)) + data


def sample_file():
    """Two attributes and two tensors, byte by byte."""
    header = b"CKVTNSR1" + struct.pack("<4I", 1, 2, 2, 0)
    header += text("format") + text("sample") + text("rate") + text("0.5")
    tensors = [("ids", 6, "<3I", (3,), (7, 8, 9)), ("w", 1, "<6f", (2, 3), tuple(range(6)))]
    size = len(header) + sum(4 + len(name) + 2 + 8 * len(shape) + 16 for name, _, _, shape, _ in tensors)
    blocks = b""
    for name, kind, form, shape, values in tensors:
        blocks += b"\0" * (-(size + len(blocks)) % 64)
        data = struct.pack(form, *values)
        header += text(name) + struct.pack("<BB", kind, len(shape)) + struct.pack(f"<{len(shape)}q", *shape)
        header += struct.pack("<2Q", size + len(blocks), len(data))
        blocks += data
    return header + blocks + b"\0" * 8


class TensorFilePage(unittest.TestCase):
    def test_printed_reader_reads_the_printed_layout(self):
        try:
            import numpy
        except ImportError:
            self.skipTest("numpy is not installed")
        code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.S).group(1)
        scope = {}
        exec(code, scope)  # pylint: disable=exec-used
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "sample.ckvt"
            path.write_bytes(sample_file())
            attributes, tensors = scope["read_ckvt"](path)
        self.assertEqual(attributes, {"format": "sample", "rate": "0.5"})
        self.assertTrue(numpy.array_equal(tensors["ids"], [7, 8, 9]))
        self.assertTrue(numpy.array_equal(tensors["w"], numpy.arange(6.0).reshape(2, 3)))
        self.assertEqual(tensors["w"].dtype, numpy.dtype("<f4"))


if __name__ == "__main__":
    sys.exit(unittest.main())
