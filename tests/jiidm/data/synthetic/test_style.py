import cv2
import numpy as np
import pytest

from jiidm.data.synthetic.dataset import landscape
from jiidm.data.synthetic.style import draw_style
from jiidm.size import Size

SMALL = Size(height=96, width=128)


@pytest.mark.parametrize("index", range(16))
def test_style_changes_the_picture_but_not_the_mask(index):
    images, masks = zip(*(landscape(index, SMALL, style=style) for style in (1, 4, 5)))
    np.testing.assert_array_equal(masks[0], masks[1])
    np.testing.assert_array_equal(masks[0], masks[2])
    assert np.abs(images[0].astype(int) - images[1]).mean() > 10


def test_style_of_its_own_is_the_index():
    np.testing.assert_array_equal(landscape(7, SMALL)[0], landscape(7, SMALL, style=7)[0])


def test_style_not_layout_governs_colour_statistics():
    """Between styles the mean Lab colour varies more than between layouts of one style."""
    means = np.array(
        [
            [cv2.cvtColor(landscape(i, Size(48, 64), style=s)[0], cv2.COLOR_RGB2LAB).mean((0, 1)) for i in range(12)]
            for s in range(12)
        ]
    )  # [style, layout, channel]
    between = means.mean(1).var(0).sum()
    within = means.var(1).mean(0).sum()
    assert between > 2 * within


def test_night_is_darker_than_noon_and_winter_whiter_than_summer():
    drawn = {}
    for style in range(400):
        look = draw_style(np.random.default_rng([0, style, 1]))
        drawn.setdefault((look.time, look.season, look.weather), style)
    noon, night, winter = (
        np.mean([landscape(i, SMALL, style=drawn[key])[0].mean() for i in range(6)])
        for key in [("noon", "summer", "clear"), ("night", "summer", "clear"), ("noon", "winter", "clear")]
    )
    assert night < 0.6 * noon

    def saturation(key):
        pictures = [landscape(i, SMALL, style=drawn[key])[0][60:] for i in range(6)]
        return np.mean([cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)[..., 1].mean() for picture in pictures])

    assert saturation(("noon", "winter", "clear")) < 0.8 * saturation(("noon", "summer", "clear"))
    assert winter > 0.9 * noon
