from __future__ import annotations

import jittor as jt
import numpy as np

from ldm_jittor.pixels import to_images, to_model


def test_all_bytes_survive_the_way_to_the_model_and_back():
    image = np.arange(256 * 3, dtype=np.uint8).reshape(16, 16, 3)
    x = to_model([image, image[::-1]])
    assert tuple(x.shape) == (2, 3, 16, 16)
    np.testing.assert_allclose(x.numpy()[0, 2], image[:, :, 2] / 127.5 - 1, atol=1e-6)
    assert x.numpy().min() == -1 and x.numpy().max() == 1
    np.testing.assert_array_equal(to_images(x), [image, image[::-1]])


def test_images_are_rounded_and_clipped():
    levels = np.array([-9.0, -1.0, 0.6 / 127.5 - 1, 0.4 / 127.5 - 1, 1.0, 9.0], np.float32)
    picture = to_images(jt.array(np.tile(levels, (1, 3, 1, 1))))
    assert picture[0, 0, :, 0].tolist() == [0, 0, 1, 0, 255, 255]
    cut = to_images(jt.array(np.tile(levels, (1, 3, 1, 1))), np.floor)
    assert cut[0, 0, :, 0].tolist() == [0, 0, 0, 0, 255, 255]
