from __future__ import annotations

import cv2
import numpy as np
import pytest
import scipy.linalg

from jiidm.data.synthetic.dataset import landscape
from jiidm.evaluate import metrics
from jiidm.size import Size


def test_pixel_accuracy_counts_equal_pixels():
    mask = np.array([[0, 1, 2], [3, 4, 28]], np.uint8)
    prediction = np.array([[0, 1, 2], [3, 5, 0]], np.uint8)
    assert metrics.pixel_accuracy(prediction, mask) == pytest.approx(4 / 6)
    assert metrics.pixel_accuracy(mask, mask) == 1.0
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(3, 2\)"):
        metrics.pixel_accuracy(prediction, mask.T)


def test_class_scores_count_a_classs_pixels():
    rng = np.random.default_rng(0)
    mask, prediction = (rng.integers(0, 5, (20, 30)).astype(np.uint8) for _ in range(2))
    mask[mask == 3], prediction[prediction == 3] = 2, 1  # nobody has class 3
    mask[mask == 4] = 0  # the prediction alone has class 4
    counts = metrics.confusion(prediction, mask)
    assert counts.sum() == 600 and counts.dtype == np.int64
    accuracy, overlap = metrics.class_scores(counts)
    for number in range(5):
        theirs, ours = mask == number, prediction == number
        if theirs.any():
            assert accuracy[number] == (theirs & ours).sum() / theirs.sum()
        if (theirs | ours).any():
            assert overlap[number] == (theirs & ours).sum() / (theirs | ours).sum()
    assert np.isnan(accuracy[3:]).all() and np.isnan(overlap[3]) and overlap[4] == 0
    assert np.trace(counts) / counts.sum() == pytest.approx(metrics.pixel_accuracy(prediction, mask))
    np.testing.assert_array_equal(metrics.class_scores(np.stack([counts] * 2))[0][1], accuracy)


def opencv_histogram(image):
    # flat, because compareHist 4.11 takes a correlation of three-dimensional histograms over 64 bins instead of 512
    return cv2.calcHist([image], [0, 1, 2], None, [8, 8, 8], [0, 256, 0, 256, 0, 256]).ravel()


def images():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    dark = rng.integers(0, 90, (30, 40, 3), dtype=np.uint8)
    black = np.zeros((8, 8, 3), np.uint8)
    landscapes = [landscape(number, size, seed=2)[0] for number, size in ((1, Size(64, 96)), (2, Size(48, 64)))]
    return [noise, dark, black, 255 - black, *landscapes]


@pytest.mark.parametrize("image", images(), ids=lambda image: str(image.shape))
def test_histogram_is_opencvs(image):
    assert np.array_equal(metrics.color_histogram(image), opencv_histogram(image))


@pytest.mark.parametrize("a", range(6))
@pytest.mark.parametrize("b", range(6))
def test_color_similarity_is_opencvs_correlation(a, b):
    one, other = images()[a], images()[b]
    oracle = cv2.compareHist(opencv_histogram(one), opencv_histogram(other), cv2.HISTCMP_CORREL)
    assert metrics.color_similarity(one, other) == pytest.approx(oracle, abs=1e-9)


def test_color_similarity_of_equal_colours_is_one():
    image = images()[4]
    assert metrics.color_similarity(image, image) == pytest.approx(1)
    assert metrics.color_similarity(image, np.repeat(image, 2, axis=0)) == pytest.approx(1)
    evenly = np.stack(np.meshgrid(*[np.arange(16, 256, 32)] * 3), axis=-1).reshape(8, 64, 3).astype(np.uint8)
    assert metrics.color_similarity(evenly, evenly) == cv2.compareHist(
        opencv_histogram(evenly), opencv_histogram(evenly), cv2.HISTCMP_CORREL
    )


def gaussian(rng, samples, dimensions):
    return metrics.gaussian(rng.normal(size=(samples, dimensions)) @ rng.normal(size=(dimensions, dimensions)) + 1)


def test_gaussian_of_known_points():
    mu, sigma = metrics.gaussian(np.array([[0, 1], [2, 5]], np.float32))
    assert mu.tolist() == [1, 3] and sigma.tolist() == [[2, 4], [4, 8]] and sigma.dtype == np.float64
    assert metrics.gaussian(np.array([[1.0], [3.0]]))[1].tolist() == [[2]]
    with pytest.raises(ValueError, match="at least 2 images, not 1"):
        metrics.gaussian(np.zeros((1, 4)))


def test_frechet_distance_of_diagonal_gaussians_is_the_closed_form():
    rng = np.random.default_rng(1)
    mu1, mu2, s1, s2 = rng.normal(size=(4, 20))
    expected = ((mu1 - mu2) ** 2 + (abs(s1) - abs(s2)) ** 2).sum()
    assert metrics.frechet_distance(mu1, np.diag(s1**2), mu2, np.diag(s2**2)) == pytest.approx(expected, rel=1e-10)


def test_frechet_distance_is_what_scipys_square_root_gives():
    rng = np.random.default_rng(2)
    (mu1, sigma1), (mu2, sigma2) = gaussian(rng, 300, 48), gaussian(rng, 200, 48)
    root = scipy.linalg.sqrtm(sigma1 @ sigma2).real
    expected = (mu1 - mu2) @ (mu1 - mu2) + np.trace(sigma1 + sigma2 - 2 * root)
    assert metrics.frechet_distance(mu1, sigma1, mu2, sigma2) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_stands_singular_covariances():
    """Fewer images than features; the trace of the root is then the nuclear norm of the features' product."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(12, 64)), rng.normal(size=(9, 64)) * 3
    centred_a, centred_b = (a - a.mean(0)) / np.sqrt(11), (b - b.mean(0)) / np.sqrt(8)
    nuclear = np.linalg.svd(centred_a @ centred_b.T, compute_uv=False).sum()
    difference = a.mean(0) - b.mean(0)
    expected = difference @ difference + (centred_a**2).sum() + (centred_b**2).sum() - 2 * nuclear
    # the root of an eigenvalue of 1e-15 instead of 0 is 3e-8, and there are 50 of them
    assert metrics.frechet_distance(*metrics.gaussian(a), *metrics.gaussian(b)) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_is_symmetric_and_zero_of_a_set_to_itself():
    rng = np.random.default_rng(4)
    one, other = gaussian(rng, 50, 16), gaussian(rng, 60, 16)
    assert metrics.frechet_distance(*one, *other) == pytest.approx(metrics.frechet_distance(*other, *one), rel=1e-9)
    assert 0 <= metrics.frechet_distance(*one, *one) < 1e-6 * np.trace(one[1])


PAPER = {  # Tables 1 and 2: M, A, FID, S, T
    "SEAN": (76.03, 47.72, 75.36, 68.38, 35.82),
    "SCGAN": (87.74, 49.14, 56.13, 30.66, 45.06),
    "GauGAN": (89.54, 49.59, 43.39, 54.42, 54.96),
    "CLADE": (92.09, 50.98, 40.63, 48.14, 57.18),
    "DM": (91.01, 49.12, 35.41, 27.90, 55.79),
    "I2I": (93.76, 49.61, 32.98, 62.68, 63.60),
    "I2I+RF": (94.57, 50.43, 30.63, 49.24, 63.51),
    "I2I+RF+CT": (94.11, 49.78, 31.38, 66.03, 65.09),
}


@pytest.mark.parametrize("row", PAPER.values(), ids=PAPER)
def test_total_score_is_the_papers(row):
    *parts, total = row
    assert metrics.total_score(*parts) == pytest.approx(total, abs=0.011)


def test_the_papers_full_model_is_misprinted():
    """I2I+RF+CT+ME: its own M, A, FID and S give 65.22 where the table says 65.27."""
    assert metrics.total_score(94.15, 50.43, 30.75, 63.76) == pytest.approx(65.22, abs=0.005)


def test_total_score_counts_no_distance_above_100():
    assert (
        metrics.total_score(80, 50, 250, 20) == metrics.total_score(80, 50, 100, 20) == pytest.approx(0.8 * (10 + 18))
    )
    assert metrics.total_score(100, 100, 0, 100) == pytest.approx(100)
    assert metrics.total_score(100, 0, 100, -100) == pytest.approx(0)
