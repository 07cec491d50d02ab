"""What is measured beside the challenge's scores, and how sure every score is.

From the predictions: accuracy and IoU of each class. From features of real photos: the kernel distance, precision,
recall, and the photo nearest to each image, which tells copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jiidm.classes import CLASS_NAMES
from jiidm.data.images import load_image, read_size, resize_image
from jiidm.errors import InputError
from jiidm.evaluate import bootstrap, metrics, neighbours
from jiidm.evaluate.lpips import Perceptual
from jiidm.evaluate.metrics import total_score
from jiidm.evaluate.score import Examined, identity
from jiidm.inference.folder import RUN_FOLDER
from jiidm.report.sheets import contact_sheet
from jiidm.seeding import generator
from jiidm.size import Size
from jiidm.system.progress import StepBar

PICTURE = "nearest.jpg"
PAIRS = 8
DISTANCE_RESAMPLES = 200
"""The Frechet distance, and with it T, is taken of so many resamples: each needs eigenvalues."""
NORMAL_95 = 1.96
Interval = tuple[float, float]


class Measured(NamedTuple):
    """A score and its 95 % interval, None where it has none; `of` says of how many images."""

    value: float
    interval: Interval | None
    of: str


def add_further(examined: Examined, out: Path, perceptual: Perceptual | None = None) -> dict[str, Measured]:
    """Add "further", "intervals", "classes" and "nearest" to the score card, and give all scores in their order.

    `out`/_run/nearest.jpg shows the images that are nearest to a real photo, beside that photo. With `perceptual` the
    images' diversity is measured too. Raises InputError where they are too few or of unequal sizes for it.
    """
    card, photos = examined.card, examined.photos
    sampled = _Sampled(examined)
    images = f"{len(card['images'])} images"
    both = f"{images}, {len(photos)} photos"
    accuracy, overlap = metrics.class_scores(sampled.total)
    values = {**card["scores"], "mIoU": 100 * float(np.nanmean(overlap)), "mAcc": 100 * float(np.nanmean(accuracy))}
    measured = {name: Measured(value, sampled.interval(name, value), images) for name, value in values.items()}
    if examined.reality is not None and examined.features is not None:
        for name in {"FID", "fd_seg", "T"} & measured.keys():
            measured[name] = measured[name]._replace(of=both)
        measured |= {name: found._replace(of=both) for name, found in _by_features(examined).items()}
        card["nearest"] = _nearest(examined, out)
    if perceptual:
        measured["LPIPS"] = _diversity(list(card["images"]), out, perceptual)
        card["made_with"]["diversity"] = identity(perceptual)
    card["further"] = {name: round(measured[name].value, 6) for name in measured if name not in card["scores"]}
    card["intervals"] = {name: [round(end, 6) for end in m.interval] for name, m in measured.items() if m.interval}
    card["classes"] = {
        name: {"pixels": int(sampled.total[i].sum()), "accuracy": _percent(accuracy[i]), "IoU": _percent(overlap[i])}
        for i, name in enumerate(CLASS_NAMES)
        if sampled.total[i].any() or sampled.total[:, i].any()
    }
    return measured


def _percent(share: float) -> float | None:
    return None if np.isnan(share) else round(100 * float(share), 2)


class _Sampled:
    """The scores in resamples of the images. `total` is the confusion of all of them."""

    def __init__(self, examined: Examined):
        card, found = examined.card, examined.found
        order = np.argsort(list(found.images))
        confusions = np.array(found.confusions)[order]
        self.count, self.total = len(order), confusions.sum(axis=0)
        chosen = bootstrap.resamples(len(order))
        columns = {
            key: np.array([image[key] for image in card["images"].values()])
            for key in next(iter(card["images"].values()))
        }
        self.draws = {key: bootstrap.means(values, chosen) for key, values in columns.items()}
        pixels = np.array(found.pixels)[order]
        self.draws["M"] = bootstrap.means(columns["M"] * pixels, chosen) / bootstrap.means(pixels, chosen)
        self._add_classes(confusions.reshape(len(order), -1), chosen)
        if examined.reality is not None and examined.features is not None:
            self._add_distance(examined, chosen[:DISTANCE_RESAMPLES])

    def _add_classes(self, confusions: np.ndarray, chosen: np.ndarray) -> None:
        often = np.array([np.bincount(row, minlength=len(confusions)) for row in chosen], np.float64)  # [R,N]
        accuracy, overlap = metrics.class_scores((often @ confusions).reshape(-1, *self.total.shape))
        self.draws["mAcc"], self.draws["mIoU"] = (100 * np.nanmean(each, axis=-1) for each in (accuracy, overlap))

    def _add_distance(self, examined: Examined, chosen: np.ndarray) -> None:
        assert examined.features is not None and examined.reality is not None
        scores = examined.card["scores"]
        name = "FID" if "FID" in scores else "fd_seg"
        distances = bootstrap.distances(examined.features, examined.reality[1:], chosen)
        # repeated images make every draw larger than the estimate, see bootstrap.interval
        self.draws[name] = (distances - distances.mean() + scores[name]).clip(0)
        if "T" in scores:
            rows = zip(*(self.draws[key][: len(chosen)] for key in ("M", "A", "FID", "S")))
            self.draws["T"] = np.array([total_score(*row) for row in rows])

    def interval(self, name: str, value: float) -> Interval | None:
        if self.count < 2:  # one image does not tell how far another would be from it
            return None
        return bootstrap.interval(value, self.draws[name], least=0.0 if name in ("FID", "fd_seg") else -np.inf)


def _by_features(examined: Examined) -> dict[str, Measured]:
    """KID, precision and recall, by Inception's features only: others do not compare."""
    features, reality = examined.features, examined.reality
    if "FID" not in examined.card["scores"] or features is None or reality is None:
        return {}
    found = {}
    if len(features) > 2:
        distance, error = metrics.kernel_distance(features, reality.features)
        found["KID"] = Measured(distance, (distance - NORMAL_95 * error, distance + NORMAL_95 * error), "")
    if min(len(features), len(reality.features)) > neighbours.K:
        for name, hits in zip(("precision", "recall"), neighbours.coverage(features, reality.features)):
            found[name] = Measured(100 * float(hits.mean()), bootstrap.interval_of_mean(100 * hits, least=0.0), "")
    return found


def _diversity(stems: Sequence[str], out: Path, perceptual: Perceptual) -> Measured:
    """The mean LPIPS of random pairs of the images: each and the next in an order of chance, the same every time."""
    order = generator("diversity", len(stems)).permutation(len(stems))
    shuffled = [out / f"{stems[i]}.jpg" for i in order]
    if len(shuffled) < 2 or len({read_size(path) for path in shuffled}) > 1:
        raise InputError(f"{out}: LPIPS needs at least two images, all of one size")
    images = (load_image(path) for path in StepBar(shuffled, desc="diversity", unit="image"))
    distances = perceptual.chain(images)
    return Measured(float(distances.mean()), bootstrap.interval_of_mean(distances), f"{len(distances)} pairs")


def _nearest(examined: Examined, out: Path) -> dict[str, Any]:
    """The nearest photo of each image, and how far photos are from each other. It draws the closest pairs."""
    assert examined.features is not None and examined.reality is not None
    stems, photos = list(examined.card["images"]), examined.photos
    found = neighbours.nearest(examined.features, examined.reality.features)
    among_photos = neighbours.nearest_other(examined.reality.features)
    closest = np.argsort(found.distance)[:PAIRS]
    rows, labels = [], []
    for i in closest:
        image = load_image(out / f"{stems[i]}.jpg")
        photo = load_image(photos[found.number[i]])
        rows.append([image, resize_image(photo, Size(*image.shape[:2]))])
        labels.append(f"{stems[i]}: {found.distance[i]:.3g} from {photos[found.number[i]].name}")
    contact_sheet(rows, out / RUN_FOLDER / PICTURE, ("image", "nearest real photo"), labels)
    return {
        "median_distance": round(float(np.median(found.distance)), 6),
        "median_distance_among_photos": round(float(np.median(among_photos)), 6),
        "nearer_than_any_two_photos": int((found.distance < among_photos.min()).sum()),
        "images": {
            stem: [photos[number].name, round(float(distance), 6)]
            for stem, number, distance in zip(stems, found.number, found.distance)
        },
    }
