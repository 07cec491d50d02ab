"""Precision, recall and nearest images against their definitions by scipy's distances."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from jiidm.evaluate import metrics, neighbours


@pytest.fixture
def features():
    rng = np.random.default_rng(2)
    return rng.normal(size=(40, 5)).astype(np.float32), rng.normal(0.5, 1.2, size=(55, 5)).astype(np.float32)


def test_precision_and_recall_by_their_definition(features, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", 16)  # several blocks
    images, photos = features
    inside, covered = neighbours.coverage(images, photos)
    radius, real_radius = (np.sort(cdist(x, x), axis=1)[:, 3] for x in features)
    distances = cdist(images, photos)
    assert inside.tolist() == [(row <= real_radius).any() for row in distances]
    assert covered.tolist() == [(column <= radius).any() for column in distances.T]
    assert 0 < inside.mean() < 1 and 0 < covered.mean() < 1


def test_images_that_are_the_photos_are_precise_and_complete_and_strangers_are_not(features):
    _, photos = features
    assert neighbours.coverage(photos, photos).inside.all()
    far = neighbours.coverage(photos + 100, photos)
    assert not far.inside.any() and not far.covered.any()


def test_too_few_images_for_their_neighbours_are_refused(features):
    with pytest.raises(ValueError, match="more than 3 images, not 3 and 55"):
        neighbours.coverage(features[0][:3], features[1])


def test_the_nearest_photo_and_its_distance(features):
    images, photos = features
    found = neighbours.nearest(images, photos)
    distances = cdist(images, photos)
    np.testing.assert_array_equal(found.number, distances.argmin(axis=1))
    np.testing.assert_allclose(found.distance, distances.min(axis=1), rtol=1e-6)
    copy = neighbours.nearest(photos[7:8], photos)
    assert copy.number[0] == 7 and copy.distance[0] < 1e-3


def test_the_nearest_of_the_rest(features):
    distances = cdist(features[1], features[1]) + np.diag([np.inf] * 55)
    np.testing.assert_allclose(neighbours.nearest_other(features[1]), distances.min(axis=1), rtol=1e-5)


def test_kernel_distance_by_its_definition(features, monkeypatch):
    monkeypatch.setattr(metrics, "BLOCK", 16)
    x, y = (each.astype(np.float64) for each in features)

    def estimate(x):
        own, theirs, across = ((a @ b.T / 5 + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
        n, m = len(x), len(y)
        pairs = (own.sum() - np.trace(own)) / (n * (n - 1)) + (theirs.sum() - np.trace(theirs)) / (m * (m - 1))
        return pairs - 2 * across.mean()

    found, error = metrics.kernel_distance(*features)
    assert found == pytest.approx(estimate(x), rel=1e-9)
    left = np.array([estimate(np.delete(x, i, axis=0)) for i in range(len(x))])
    assert error == pytest.approx(np.sqrt(39 / 40 * np.square(left - left.mean()).sum()), rel=1e-6)


def test_kernel_distance_has_no_bias():
    """Of samples of one distribution it is zero on average, though each is small."""
    rng = np.random.default_rng(0)
    reality = rng.normal(size=(1000, 4))
    found = np.array([metrics.kernel_distance(rng.normal(size=(30, 4)), reality)[0] for _ in range(100)])
    assert abs(found.mean()) < 3 * found.std() / 10 and (found < 0).any()


def test_kernel_distances_error_is_its_spread():
    rng = np.random.default_rng(0)
    reality = rng.normal(size=(500, 4))
    found = np.array([metrics.kernel_distance(rng.normal(1, 1, size=(60, 4)), reality) for _ in range(100)])
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.25)


def test_kernel_distance_of_too_few_images_is_refused():
    with pytest.raises(ValueError, match="not 2 and 9"):
        metrics.kernel_distance(np.zeros((2, 3)), np.zeros((9, 3)))
