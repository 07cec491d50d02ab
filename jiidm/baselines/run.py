"""A GAN's training run, from data to a model. A finished or interrupted run goes on where it was."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from jiidm.baselines.model import GANModel, save_gan
from jiidm.baselines.perceptual import load as load_perceptual
from jiidm.baselines.pipeline import GANPipeline
from jiidm.baselines.stage import STATE_FILE, GANStage
from jiidm.config.schema import Config
from jiidm.model.files import MODEL_FILE
from jiidm.system import ranks
from jiidm.train import networks, settings, validation
from jiidm.train.checkpoints import ranked
from jiidm.train.data import generate, prepare
from jiidm.train.lock import occupied
from jiidm.train.loop import fit
from jiidm.train.networks import Used
from jiidm.train.run import keep_settings, provenance_of
from ldm_jittor.files import atomic_path

logger = logging.getLogger(__name__)

SECTIONS = ("seed", "method", "data", "gan")
"""A change in one of these sections makes another run."""
CHANGEABLE = ("gan_training", "inference")
"""The run's history keeps changes in these sections."""


def train_gan(config: Config, data: Path | None, folder: Path, inception_file: Path | None = None) -> Path:
    """Train the GAN of a config in `folder`, or go on where an earlier call stopped. Returns the finished model's path.

    Without `data` it generates landscapes. The weights in `inception_file` serve for distances of validation images, if
    the config asks for any. The model is then the checkpoint of the smallest distance, else the last one.
    Raises InputError for faulty data, for a folder that holds another run or in which another process trains, for other
    data than the run was started with, and as `fit` does.
    """
    ranks.on_first(lambda: settings.claim(config, folder, SECTIONS))
    with occupied(folder):
        return _train(config, data, folder, inception_file)


def _train(config: Config, data: Path | None, folder: Path, inception_file: Path | None) -> Path:
    fd_network = validation.network_for(config, inception_file)
    perceptual_loss = load_perceptual(config.gan_training)
    root = data or ranks.first_then_others(lambda: generate(config, config.data.size, folder / "data"))
    train_pairs, validation_pairs, _ = ranks.first_then_others(lambda: prepare(config, root, folder))
    perceptual, seen_by = perceptual_loss or (None, None)
    distances = validation.distances_of(config, validation_pairs, folder, fd_network)
    used = [*([seen_by] if seen_by else []), *([distances.used] if distances else [])]
    recorded = ranks.first_then_others(lambda: networks.record(folder, used))
    provenance = {**provenance_of(len(train_pairs), data), "networks": recorded}
    if history := ranks.on_first(lambda: keep_settings(config, folder, STATE_FILE, CHANGEABLE, distances)):
        provenance["settings_history"] = history
    logger.info("%s: %s", config.name, _losses_in_words(config, seen_by))

    def show_samples(model: GANModel, picture: Path, on_step: Callable[[], None]) -> None:
        validation.sample_sheet(train_pairs, validation_pairs, GANPipeline(model), picture, on_step)

    stage = GANStage(config, train_pairs, folder, provenance, show_samples, perceptual, distances)
    steps = fit(stage, folder)
    path = folder / MODEL_FILE
    if not ranks.from_first(bool(ranks.on_first(lambda: stage.distances and _copy_best(folder, path)))):
        with stage.final() as model:
            ranks.on_first(lambda: save_gan(path, model, {"steps": steps, **provenance}))
    return path


def _copy_best(folder: Path, path: Path) -> bool:
    """Make the checkpoint of the smallest distance the run's model, if there is one."""
    best = ranked(folder)[:1]
    if not best or not best[0].path.is_file():
        return False
    logger.info("%s: the checkpoint of step %d, which has the smallest distance", path, best[0].step)
    with atomic_path(path) as temporary:
        shutil.copyfile(best[0].path, temporary)
    return True


def _losses_in_words(config: Config, perceptual: Used | None) -> str:
    parts = {"hinge": "hinge loss and feature matching", "oasis": "OASIS' segmentation loss"}
    if perceptual is None:
        told = "no perceptual loss: the published one needs VGG-19's weights (gan_training.perceptual)"
    else:
        told = f"perceptual loss by the features of {perceptual.name}"
    return f"{parts[config.gan_training.adversarial]}; {told}"
