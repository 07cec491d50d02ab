"""Scores on arrays: the challenge's M, S, FID and total T, and what is measured besides: mIoU, KID.

Accuracies and correlations are fractions here. The paper prints percentages, and `total_score` takes those.
"""

from __future__ import annotations

import numpy as np

from jiidm.classes import NUM_CLASSES

BLOCK = 512
"""Rows of features whose products with all others are held at once."""
HISTOGRAM_BINS = 8
HISTOGRAM = f"joint RGB, {HISTOGRAM_BINS} equal bins a channel ({HISTOGRAM_BINS**3} in all), Pearson correlation"


def pixel_accuracy(prediction: np.ndarray, mask: np.ndarray) -> float:
    """M of one image: the share of pixels, in [0,1], where the predicted class [H,W] equals the mask's [H,W].

    Raises ValueError when the two differ in shape.
    """
    if prediction.shape != mask.shape:
        raise ValueError(f"a prediction of {prediction.shape} cannot be compared with a mask of {mask.shape}")
    return float((prediction == mask).mean())


def confusion(prediction: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Pixels of class i in the mask and j in the prediction, both [H,W] of class ids: int64 [29,29]."""
    joint = mask.astype(np.int64).ravel() * NUM_CLASSES + prediction.ravel()
    return np.bincount(joint, minlength=NUM_CLASSES**2).reshape(NUM_CLASSES, NUM_CLASSES)


def class_scores(confusions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy and intersection over union of each class, from confusions [...,29,29]: each [...,29] in [0,1].

    The accuracy is the share of the mask's pixels of that class that the prediction has too. NaN stands for a class
    that the masks do not have, and for the IoU of one that the predictions do not have either, as in mmseg.
    """
    hits = np.diagonal(confusions, axis1=-2, axis2=-1).astype(np.float64)
    in_masks, in_predictions = confusions.sum(axis=-1), confusions.sum(axis=-2)
    with np.errstate(invalid="ignore"):
        return hits / in_masks, hits / (in_masks + in_predictions - hits)


def color_histogram(image: np.ndarray) -> np.ndarray:
    """How many pixels of uint8 RGB [H,W,3] fall in each of the 8 x 8 x 8 joint colour bins: int64 [512].

    A channel's value v belongs to bin v // 32, red counting most in the joint index.
    """
    bins = image // (256 // HISTOGRAM_BINS)
    red, green, blue = (bins[..., channel].astype(np.int64) for channel in range(3))
    joint = (red * HISTOGRAM_BINS + green) * HISTOGRAM_BINS + blue
    return np.bincount(joint.ravel(), minlength=HISTOGRAM_BINS**3)


def color_similarity(image: np.ndarray, reference: np.ndarray) -> float:
    """S of one image: Pearson's correlation, in [-1,1], of two images' joint RGB histograms.

    image, reference: uint8 RGB [H,W,3] of any two sizes, since the correlation does not see the number of pixels.
    The organisers' bins are not public. Joint RGB with 8 bins a channel is what another team used in their place.
    The result equals `cv2.compareHist(..., HISTCMP_CORREL)` of flat histograms. There, too, a histogram without
    variation correlates as 1.
    """
    a, b = (color_histogram(each).astype(np.float64) for each in (image, reference))
    a, b = a / a.sum(), b / b.sum()
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt(a @ a) * np.sqrt(b @ b)
    return float(a @ b / norm) if norm > np.finfo(np.float64).eps else 1.0


def gaussian(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [D] and unbiased covariance [D,D] of features [N,D], in float64. Raises ValueError below two rows."""
    if len(features) < 2:
        raise ValueError(f"a covariance needs at least 2 images, not {len(features)}")
    features = np.asarray(features, dtype=np.float64)
    return features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False))


def frechet_distance(mu1: np.ndarray, sigma1: np.ndarray, mu2: np.ndarray, sigma2: np.ndarray) -> float:
    """FID's squared distance of two Gaussians: |mu1 - mu2|^2 + Tr(sigma1 + sigma2 - 2 (sigma1 sigma2)^(1/2)).

    mu: [D]; sigma: [D,D], symmetric. Source: Heusel et al. 2017. (sigma1 sigma2)^(1/2) has the same trace as the root
    of the symmetric sigma1^(1/2) sigma2 sigma1^(1/2), whose eigenvalues are real and at least 0. So singular
    covariances, which fewer images than features give, need neither complex numbers nor an offset on the diagonal.
    """
    values, vectors = np.linalg.eigh(sigma1)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    trace_of_root = np.sqrt(np.linalg.eigvalsh(root @ sigma2 @ root).clip(0)).sum()
    difference = mu1 - mu2
    distance = difference @ difference + np.trace(sigma1) + np.trace(sigma2) - 2 * trace_of_root
    return max(0.0, float(distance))


def kernel_distance(features: np.ndarray, reality: np.ndarray) -> tuple[float, float]:
    """KID, the squared maximum mean discrepancy of features [N,D] and [M,D], and its standard error.

    The kernel is (x y / D + 1)^3. The estimate is the unbiased one (Binkowski et al. 2018, arXiv:1801.01401), over all
    images instead of random subsets, so that it has no chance in it. It may be below zero. The standard error is the
    jackknife's over the first images, with the second held fixed. Raises ValueError for fewer than three of the first
    or two of the second.
    """
    count, real_count = len(features), len(reality)
    if count < 3 or real_count < 2:
        raise ValueError(f"a kernel distance needs at least 3 and 2 images, not {count} and {real_count}")
    own = _kernel_sums(features, features) - _kernel(np.square(features.astype(np.float64)).sum(1), features.shape[1])
    across = _kernel_sums(features, reality)
    norms = _kernel(np.square(reality.astype(np.float64)).sum(1), reality.shape[1])
    theirs = (_kernel_sums(reality, reality) - norms).sum() / (real_count * (real_count - 1))
    estimate = own.sum() / (count * (count - 1)) + theirs - 2 * across.sum() / (count * real_count)
    # the estimate without each image in turn
    left = (own.sum() - 2 * own) / ((count - 1) * (count - 2)) + theirs
    left -= 2 * (across.sum() - across) / ((count - 1) * real_count)
    error = np.sqrt((count - 1) / count * np.square(left - left.mean()).sum())
    return float(estimate), float(error)


def _kernel(products: np.ndarray, dimensions: int) -> np.ndarray:
    return (products / dimensions + 1) ** 3


def _kernel_sums(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """For each row of x [N,D] the sum of its kernels with all rows of y [M,D]: float64 [N]."""
    y = y.astype(np.float64)
    blocks = [x[start : start + BLOCK].astype(np.float64) for start in range(0, len(x), BLOCK)]
    return np.concatenate([_kernel(block @ y.T, x.shape[1]).sum(axis=1) for block in blocks])


def total_score(accuracy: float, aesthetic: float, fid: float, similarity: float) -> float:
    """T, the paper's Eq. 8, from M, A, FID and S as its tables print them. FID above 100 counts as 100.

    accuracy, aesthetic: 0..100; similarity: -100..100; the result: 0..100.
    """
    fidelity = 100 - min(fid, 100.0)
    return accuracy * (0.2 * aesthetic + 0.3 * (50 + similarity / 2) + 0.5 * fidelity) / 100
