"""A training run from data to a model: check, split, autoencoder, latents, U-Net. Finished stages are not repeated."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jittor as jt
import numpy as np

from jiidm.config.schema import Config
from jiidm.data.identity import claim
from jiidm.data.latents import LatentDataset, encode_dataset
from jiidm.data.synthetic.dataset import GENERATOR_VERSION, stored_version
from jiidm.evaluate import segmenter
from jiidm.model.files import MODEL_FILE, Model, ModelFile, save_model
from jiidm.pipeline import PLAIN, Hooks, Pipeline
from jiidm.system import ranks
from jiidm.train import networks, settings, validation
from jiidm.train.autoencoder import AUTOENCODER_FILE, train_autoencoder
from jiidm.train.checkpoints import average_best, ranked
from jiidm.train.data import generate, prepare
from jiidm.train.diffusion import STATE_FILE, DiffusionStage
from jiidm.train.lock import occupied
from jiidm.train.loop import fit
from jiidm.train.segmenter import SEGMENTER_FILE, train_segmenter
from jiidm.train.state import steps_done
from ldm_jittor import checkpoint
from ldm_jittor.autoencoder import LatentSpace

logger = logging.getLogger(__name__)

AVERAGED = 2
"""How many of the best checkpoints make the model."""
MODEL_SECTIONS = ("seed", "method", "data", "autoencoder", "unet", "schedule", "autoencoder_training")
"""A change in one of these sections makes another run."""
MODEL_CHANGEABLE = ("diffusion_training", "inference", "released")
"""The run's history keeps changes in these sections."""
SEGMENTER_SECTIONS = ("seed", "data", "segmenter")
AUTOENCODER_RECORD = "autoencoder.json"
"""Which autoencoder the U-Net's latents come from."""


def train(
    config: Config,
    data: Path | None,
    folder: Path,
    autoencoder_file: Path | None = None,
    inception_file: Path | None = None,
    hooks: Hooks = PLAIN,
) -> Path:
    """Train in `folder`, or go on where an earlier call stopped. Returns the finished model's path.

    Without `data` it generates landscapes. `autoencoder_file` takes the place of training one. The weights in
    `inception_file` serve for distances of validation images, if the config asks for any. `hooks` are those of the
    pipeline. The model is the mean of the two checkpoints of the smallest distances (Eq. 7). With fewer than two it is
    the last average.
    Raises InputError for faulty data, for a folder that holds another run or in which another process trains, and for
    photos, masks or an autoencoder other than those that the run was started with, and as `fit` does.
    """
    ranks.on_first(lambda: settings.claim(config, folder, MODEL_SECTIONS))
    with occupied(folder):
        return _train(config, data, folder, autoencoder_file, inception_file, hooks)


def _train(
    config: Config,
    data: Path | None,
    folder: Path,
    autoencoder_file: Path | None,
    inception_file: Path | None,
    hooks: Hooks,
) -> Path:
    fd_network = validation.network_for(config, inception_file)
    ranks.on_first(lambda: _check_autoencoder(autoencoder_file, folder))
    root = data or ranks.first_then_others(lambda: generate(config, config.data.size, folder / "data"))
    train_pairs, validation_pairs, hashes = ranks.first_then_others(lambda: prepare(config, root, folder))
    distances = validation.distances_of(config, validation_pairs, folder, fd_network, hooks=hooks)
    used = [distances.used] if distances else []
    recorded = ranks.first_then_others(lambda: networks.record(folder, used))
    provenance = {**provenance_of(len(train_pairs), data), "networks": recorded}
    if history := ranks.on_first(lambda: keep_settings(config, folder, STATE_FILE, MODEL_CHANGEABLE, distances)):
        provenance["settings_history"] = history

    if autoencoder_file is None and not ranks.from_first((folder / AUTOENCODER_FILE).exists()):
        train_autoencoder(config, train_pairs, validation_pairs, folder, provenance)
    source = ModelFile(autoencoder_file or folder / AUTOENCODER_FILE)
    config = source.adapted(config, ["autoencoder"])
    space = LatentSpace(source.load_autoencoder(config.autoencoder), config.autoencoder.latent_scale)
    ranks.on_first(lambda: _claim_autoencoder(folder, source.sha256))

    # latents belong to the weights that made them
    latents = folder / "latents" / source.sha256[:12]
    size, downsample = config.data.size, config.autoencoder.downsample
    pairs = [*train_pairs, *validation_pairs]
    encode_dataset(space.autoencoder, source.sha256, pairs, hashes, latents, size, downsample, ranks.shard())
    ranks.barrier()

    def show_samples(model: Model, picture: Path, on_step: Callable[[], None]) -> None:
        pipeline = Pipeline(model, segmenter.load)
        validation.sample_sheet(train_pairs, validation_pairs, pipeline, picture, on_step, hooks=hooks)

    stage = DiffusionStage(
        config,
        LatentDataset(latents, [pair.stem for pair in train_pairs], space.scale),
        LatentDataset(latents, [pair.stem for pair in validation_pairs], space.scale),
        folder,
        space,
        provenance,
        show_samples,
        distances,
    )
    steps = fit(stage, folder)
    ranks.on_first(lambda: _write_model(stage, folder, {"steps": steps, **provenance}))
    return folder / MODEL_FILE


def train_segmenter_run(config: Config, data: Path | None, folder: Path) -> Path:
    """Train a segmenter in `folder`, as `train` trains a model. Returns the finished file's path. Raises as `train`
    does.
    """
    ranks.on_first(lambda: settings.claim(config, folder, SEGMENTER_SECTIONS))
    path = folder / SEGMENTER_FILE
    with occupied(folder):
        root = data or ranks.first_then_others(lambda: generate(config, config.segmenter.size, folder / "data"))
        train_pairs, validation_pairs, _ = ranks.first_then_others(lambda: prepare(config, root, folder))
        if not ranks.from_first(path.exists()):
            ranks.on_first(lambda: settings.keep(config, folder, 0, ()))
            provenance = {"steps": config.segmenter.max_steps, **provenance_of(len(train_pairs), data)}
            train_segmenter(config, train_pairs, validation_pairs, folder, provenance)
    return path


def _check_autoencoder(given: Path | None, folder: Path) -> None:
    """See, before anything is trained, that a run which goes on has the autoencoder that it was started with."""
    own = folder / AUTOENCODER_FILE
    if (folder / AUTOENCODER_RECORD).exists():
        if given or own.exists():
            checkpoint.load(given or own)  # a damaged file is told as such, not as another one
        _claim_autoencoder(folder, ModelFile(given or own).sha256 if given or own.exists() else None)


def _claim_autoencoder(folder: Path, weights: str | None) -> None:
    """weights: the file's SHA-256, or None for one that is still to be trained."""
    advice = "give the same file again, or choose another --run folder"
    claim(folder / AUTOENCODER_RECORD, {"autoencoder": weights}, advice)


def keep_settings(
    config: Config, folder: Path, state_file: str, sections: Sequence[str], distances: validation.Validation | None
) -> list[dict[str, Any]]:
    """`settings.keep` after the steps that a state file knows. Raises InputError for a change that distances refuse."""
    done = steps_done(folder / state_file)
    if distances:
        distances.require_comparable(done)  # else the history would have a change that never was
    return settings.keep(config, folder, done, sections)


def provenance_of(num_images: int, data: Path | None) -> dict[str, Any]:
    """What a model file says of its training data and of the libraries."""
    source = f"generator version {GENERATOR_VERSION}" if data is None else os.fspath(data)
    return {
        "images": num_images,
        "data": source,
        "generator_version": GENERATOR_VERSION if data is None else stored_version(data),
        "jittor": jt.__version__,
        "numpy": np.__version__,
    }


def _write_model(stage: DiffusionStage, folder: Path, provenance: dict[str, Any]) -> None:
    """Write the run's model: the mean of its best checkpoints if they are there, else the last averaged weights."""
    path, best = folder / MODEL_FILE, ranked(folder)[:AVERAGED] if stage.distances else []
    if len(best) == AVERAGED and all(entry.path.is_file() for entry in best):
        average_best(folder, path, [1 / AVERAGED] * AVERAGED, stage.config, provenance)
        return
    if stage.distances:
        logger.info("%s: the last averaged weights, for there are no two checkpoints with a distance", path)
    autoencoder = checkpoint.state_dict(stage.model.space.autoencoder)
    save_model(path, stage.config, autoencoder, stage.ema.state_dict(), provenance)
