"""The size of an image in pixels."""

from __future__ import annotations

from typing import NamedTuple


class Size(NamedTuple):
    """Height and width, in the order of an array's axes.

    People read and write 512x384, the width first. So do Pillow, OpenCV, YAML and the JSON of records: they get
    `size[::-1]`.
    """

    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


CHALLENGE_SIZE = Size(height=384, width=512)
"""Of the challenge's images, and of every default."""
