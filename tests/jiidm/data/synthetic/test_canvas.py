import cv2
import numpy as np

from jiidm.classes import CLASS_NAMES
from jiidm.data.synthetic.canvas import Canvas, value_noise
from jiidm.data.synthetic.style import draw_style
from jiidm.size import Size


def test_mask_follows_what_is_painted():
    """A pixel has the label of what covers half of it, and the picture shows that mixture."""
    look = draw_style(np.random.default_rng(0))
    canvas = Canvas(Size(48, 64), look, np.random.default_rng(0), np.random.default_rng(0), horizon=0.5)
    alpha = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (48, 1))
    canvas.put(alpha, np.ones(3, np.float32), "boat")
    np.testing.assert_allclose(canvas.image, np.repeat(alpha[..., None], 3, 2), atol=5e-5)
    np.testing.assert_array_equal(canvas.mask == CLASS_NAMES.index("boat"), alpha >= 0.5)
    canvas.polygon([(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)], np.ones(3, np.float32), "house")
    inside = (np.abs(canvas.u - 0.5) < 0.25) & (np.abs(canvas.v - 0.5) < 0.25)
    assert ((canvas.mask == CLASS_NAMES.index("house")) ^ inside).mean() < 0.07
    canvas.polygon([(2.0, 2.0), (3.0, 2.0), (3.0, 3.0)], np.ones(3, np.float32), "ship")
    assert CLASS_NAMES.index("ship") not in canvas.mask


def test_value_noise_is_centred_and_keeps_its_shape_at_another_size():
    small = value_noise(np.random.default_rng(0), Size(48, 64), (8, 6), octaves=3)
    large = value_noise(np.random.default_rng(0), Size(192, 256), (8, 6), octaves=3)
    assert small.dtype == np.float32 and small.shape == (48, 64)
    assert abs(large.mean()) < 0.15 and 0.2 < large.std() < 0.7
    reduced = cv2.resize(large, (64, 48), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(reduced.ravel(), small.ravel())[0, 1] > 0.97
