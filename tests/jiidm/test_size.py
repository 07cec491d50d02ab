from __future__ import annotations

import numpy as np

from jiidm.size import CHALLENGE_SIZE, Size


def test_a_size_is_an_arrays_shape_and_is_shown_with_the_width_first():
    size = Size(*np.zeros((384, 512)).shape)
    assert size == CHALLENGE_SIZE and (size.height, size.width) == (384, 512)
    assert f"{size}" == "512x384" and size[::-1] == (512, 384)
