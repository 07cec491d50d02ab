"""CLADE's map of where in its region a pixel lies (ICPE, Tan et al. 2021, arXiv:2012.04644)."""

from __future__ import annotations

import cv2
import numpy as np


def distance_map(mask: np.ndarray) -> np.ndarray:
    """Offsets of every pixel from the centroid of its region, mask [h,w] of class ids -> float32 [2,h,w] in (-1, 1).

    Channel 0 is down, channel 1 is right. A region is a connected component of one class, corners included; its offsets
    are divided by the largest of them. Two faults of the released code are not repeated: class 0 has offsets like any
    other, and the map of a mirrored mask is that mask's own (mirrored, with the sign of channel 1 turned).
    """
    offsets = np.zeros((2, *mask.shape), np.float32)
    pixels = np.indices(mask.shape)
    for label in np.unique(mask):
        _, regions, stats, centroids = cv2.connectedComponentsWithStats((mask == label).astype(np.uint8))
        inside = regions > 0
        first = stats[:, [cv2.CC_STAT_TOP, cv2.CC_STAT_LEFT]]
        last = first + stats[:, [cv2.CC_STAT_HEIGHT, cv2.CC_STAT_WIDTH]] - 1
        centers = centroids[:, ::-1]
        farthest = np.maximum(centers - first, last - centers) + 1e-5
        region = regions[inside]
        offsets[:, inside] = (pixels[:, inside] - centers[region].T) / farthest[region].T
    return offsets
