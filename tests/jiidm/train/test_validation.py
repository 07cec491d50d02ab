"""The Frechet distance of painted validation images, and the list of a run's checkpoints by it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from networks import Brightness
from scipy.linalg import sqrtm

from jiidm.config import load as configs
from jiidm.data.images import load_image
from jiidm.data.pairs import find_pairs
from jiidm.errors import InputError
from jiidm.pipeline import Hooks, Result
from jiidm.size import Size
from jiidm.train import validation
from jiidm.train.checkpoints import checkpoint_path, ranked, record_distance
from jiidm.train.validation import Validation

SIZE = Size(height=48, width=64)


class DarkPainter:
    """In place of the pipeline: gives the references at half their brightness, and tells what it was asked for."""

    calls: list = []
    batch_size = 2

    def __init__(self, config):
        self.config = config

    def num_passes(self, inputs):
        return len(inputs) * len(self.config.inference.rounds)

    def stream(self, inputs, *, seed, on_step, hooks=None):
        for given in inputs:
            for spec in self.config.inference.rounds:
                for _ in range(spec.num_steps):
                    on_step(1)
            photo = load_image(given.reference, self.config.data.size)
            self.calls.append((given.name, photo, self.config.inference.rounds, hooks))
            yield Result(given.name, photo // 2, None, None, photo)


@pytest.fixture
def painted(monkeypatch):
    """What the painter was asked for, (name, reference, rounds, hooks) of each image."""
    monkeypatch.setattr(DarkPainter, "calls", [])
    return DarkPainter.calls


@pytest.fixture
def pairs(landscapes):
    return find_pairs(landscapes)


def make(smoke, pairs, folder, *assignments, network=None):
    config = configs.override(smoke, ["diffusion_training.max_steps=7", "diffusion_training.distance_images=5"])
    return Validation(configs.override(config, assignments), pairs, folder, "fd", network or Brightness())


def record(distances, step, distance):
    record_distance(distances.folder, {"step": step, "distance": distance, **distances.made_with}, 2)


def measure(distances, on_step=lambda: None):
    return distances.measure(DarkPainter(distances.config), 3, on_step)


def test_the_distance_is_that_of_the_painted_to_the_masks_own_photos(smoke, pairs, tmp_path, painted):
    """The painter darkens the references, the first five photos in another order: closed form, with scipy's root."""
    photos = [load_image(pair.image) for pair in pairs[:5]]
    features = [[image.mean(axis=(0, 1)) for image in images] for images in (photos, [p // 2 for p in photos])]
    (mu, sigma), (other_mu, other_sigma) = ((np.mean(c, axis=0), np.cov(np.transpose(c))) for c in features)
    expected = ((mu - other_mu) ** 2).sum() + np.trace(sigma + other_sigma - 2 * sqrtm(sigma @ other_sigma).real)
    assert measure(make(smoke, pairs, tmp_path)) == pytest.approx(expected, rel=1e-3)


def test_every_mask_gets_another_ones_photo_and_every_photo_is_used(smoke, pairs, tmp_path, painted):
    measure(make(smoke, pairs, tmp_path))
    assert [name for name, *_ in painted] == [pair.stem for pair in pairs[:5]]
    photos = [load_image(pair.image, SIZE).tobytes() for pair in pairs[:5]]
    given = [photos.index(reference.tobytes()) for _, reference, *_ in painted]
    assert sorted(given) == list(range(5)) and all(mask != photo for mask, photo in enumerate(given))


def test_what_other_habits_the_rounds_have_is_handed_on(smoke, pairs, tmp_path, painted):
    hooks = Hooks()
    measure(Validation(smoke, pairs, tmp_path, "fd", Brightness(), hooks=hooks))
    assert {found for *_, found in painted} == {hooks}


def test_the_references_follow_from_the_seed(smoke, pairs, tmp_path):
    many = pairs * 5
    chosen = [make(smoke, many, tmp_path, f"seed={s}", "diffusion_training.distance_images=30") for s in (0, 0, 1)]
    first, again, other = (distances.references for distances in chosen)
    assert first == again != other and sorted(first.values()) == list(range(30))


@pytest.mark.parametrize(
    "name, steps", [("smoke", [3, 2]), ("demo", [10, 10, 10]), ("iidm", [10] * 3), ("iidm_paper", [320] * 3)]
)
def test_painted_as_by_fast_where_there_is_such(name, steps):
    """Few steps for those that have more; what has few already, or is ancestral, as it is."""
    assert [spec.num_steps for spec in validation.affordable(configs.load_config(name)).inference.rounds] == steps


def test_it_stops_between_two_sampling_steps(smoke, pairs, tmp_path, painted):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(make(smoke, pairs, tmp_path), stop)
    assert painted == []


def test_due_are_multiples_and_the_last_step_once(smoke, pairs, tmp_path):
    distances = make(smoke, pairs, tmp_path, "diffusion_training.distance_every=3")
    assert [step for step in range(8) if distances.is_due(step)] == [3, 6, 7]
    record(distances, 3, 1.0)
    assert [step for step in range(8) if distances.taken(step) is not None] == [3]


def test_the_list_is_ranked_and_a_step_stands_in_it_once(smoke, pairs, tmp_path):
    assert ranked(tmp_path) == []
    distances = make(smoke, pairs, tmp_path)
    for step, distance in ((2, 5.0), (4, 3.0), (6, 3.0), (7, 9.0), (2, 1.5)):
        record(distances, step, distance)
    path = tmp_path / "checkpoints" / "step_00000002.safetensors"
    assert ranked(tmp_path)[0] == (1.5, 2, path)
    assert [entry.step for entry in ranked(tmp_path)] == [2, 4, 6, 7]
    entry = json.loads((tmp_path / "distances.json").read_text())[0]
    assert entry.items() >= {"step": 2, "distance": 1.5, "score": "fd", "network": "b" * 64, "images": 5}.items()


def test_the_best_and_the_last_checkpoint_are_kept_and_those_without_a_distance(smoke, pairs, tmp_path):
    distances, kept = make(smoke, pairs, tmp_path), []
    checkpoint_path(tmp_path, 1).parent.mkdir()
    checkpoint_path(tmp_path, 1).touch()
    for step, distance in ((2, 5.0), (3, 3.0), (4, 4.0), (5, 9.0), (6, 2.0)):
        checkpoint_path(tmp_path, step).touch()
        record(distances, step, distance)
        kept.append([step for step in range(1, 8) if checkpoint_path(tmp_path, step).exists()])
    assert kept == [[1, 2], [1, 2, 3], [1, 3, 4], [1, 3, 4, 5], [1, 3, 6]]


def test_a_resumed_run_forgets_what_it_will_do_again(smoke, pairs, tmp_path):
    distances = make(smoke, pairs, tmp_path)
    for step in (2, 4, 6):
        record(distances, step, 1.0)
    distances.resume(4)
    assert [entry.step for entry in ranked(tmp_path)] == [2, 4]


@pytest.mark.parametrize(
    "change, word",
    [
        ("diffusion_training.distance_images=4", "made with another number of images (5, now 4)"),
        ("inference.rounds.0.num_steps=9", "`inference`"),
        ("network", "made with another network (bbbbbbbbbbbb, now cccccccccccc)"),
    ],
)
def test_a_run_that_would_take_other_distances_is_refused(smoke, pairs, tmp_path, change, word):
    record(make(smoke, pairs, tmp_path), 2, 1.0)
    network = Brightness()
    if change == "network":
        network.sha256 = "c" * 64
    distances = make(smoke, pairs, tmp_path, *([change] if "=" in change else []), network=network)
    with pytest.raises(InputError) as caught:
        distances.resume(4)
    assert str(tmp_path / "distances.json") in str(caught.value) and word in str(caught.value)


def test_a_finished_run_takes_none_and_may_be_asked_for_others(smoke, pairs, tmp_path):
    record(make(smoke, pairs, tmp_path), 7, 1.0)
    make(smoke, pairs, tmp_path, "inference.rounds.0.num_steps=9", "inference.batch_size=9").resume(7)
    assert len(ranked(tmp_path)) == 1


def test_batches_do_not_make_distances_others(smoke, pairs, tmp_path):
    record(make(smoke, pairs, tmp_path), 2, 1.0)
    make(smoke, pairs, tmp_path, "inference.batch_size=9", "inference.modulation_memory=1").resume(2)


@pytest.mark.parametrize("text", ["", "3", '{"a": 1}', '[{"step": 1}]', "[" * 100_000, "\xff"])
def test_a_damaged_list_is_told(tmp_path, text):
    (tmp_path / "distances.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"distances\.json: not a list of distances") as caught:
        ranked(tmp_path)
    assert "\n" not in str(caught.value)
