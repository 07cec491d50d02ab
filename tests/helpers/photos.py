"""Photos with metadata that no library writes: EXIF of any content, ICC profiles of known primaries."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image

SRGB_TO_XYZ = np.array([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7142]])
"""Linear sRGB and Display P3 in the profiles' own space, XYZ under D50 (Bradford-adapted; ICC and Apple print them)."""
DISPLAY_P3_TO_XYZ = np.array([[0.5151, 0.2920, 0.1571], [0.2412, 0.6922, 0.0666], [-0.0011, 0.0419, 0.7841]])


def exif(*tags: tuple[int, int, int, bytes], count: int | None = None) -> bytes:
    """An EXIF block of (tag, type, count, four bytes of value); `count` lies about how many there are."""
    entries = b"".join(struct.pack("<HHI", *tag[:3]) + tag[3].ljust(4, b"\0") for tag in tags)
    number = len(tags) if count is None else count
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", number) + entries + bytes(4)


def turned(value: int) -> tuple[int, int, int, bytes]:
    """The tag of an orientation."""
    return 0x0112, 3, 1, struct.pack("<H", value)


def jpeg(array: np.ndarray, *segments: tuple[int, bytes], **options) -> bytes:
    """An RGB or gray array as JPEG without JFIF's own header (so that EXIF decides), with segments (number of APPn,
    content)."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "JPEG", quality=95, subsampling=0, **options)
    content = buffer.getvalue()
    assert content[2:4] == b"\xff\xe0"
    rest = content[4 + int.from_bytes(content[4:6], "big") :]
    given = b"".join(bytes([0xFF, 0xE0 + n]) + struct.pack(">H", len(data) + 2) + data for n, data in segments)
    return content[:2] + given + rest


def matrix_profile(to_xyz: np.ndarray, gamma: float, space: bytes = b"RGB ") -> bytes:
    """An ICC profile of three primaries, the columns of `to_xyz`, and one gamma."""

    def fixed(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    data = {b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642) + fixed(1) + fixed(0.8249)}
    for column, name in enumerate((b"r", b"g", b"b")):
        data[name + b"XYZ"] = b"XYZ " + bytes(4) + b"".join(map(fixed, to_xyz[:, column]))
        data[name + b"TRC"] = curve
    data[b"desc"] = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
    data[b"cprt"] = b"text" + bytes(4) + b"none\0"
    table, body = b"", b""
    for name, content in data.items():
        table += name + struct.pack(">II", 132 + 12 * len(data) + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    size = 132 + len(table) + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02100000, b"mntr", space, b"XYZ ") + bytes(12)
    header += b"acsp" + bytes(28) + fixed(0.9642) + fixed(1) + fixed(0.8249)
    return header.ljust(128, b"\0") + struct.pack(">I", len(data)) + table + body
