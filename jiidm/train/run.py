"""A training run from data to a model: check, split, autoencoder, latents, U-Net. Finished stages are not repeated."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jiidm.classes import colorize
from jiidm.config import load as configs
from jiidm.config.schema import Config
from jiidm.data.images import load_image
from jiidm.data.latents import LatentDataset, encode_dataset
from jiidm.data.pairs import Pair, find_pairs, pair_references, read_split, split, survey, write_split
from jiidm.data.synthetic.dataset import GENERATOR_VERSION, stored_version, write_dataset
from jiidm.errors import InputError
from jiidm.evaluate.statistics import Network
from jiidm.inference.inputs import DEMO_SEED
from jiidm.model.files import MODEL_FILE, Model, load_autoencoder, save_model, sha256, with_stored_scale
from jiidm.pipeline import PLAIN, Hooks, Input, Pipeline
from jiidm.report.sheets import contact_sheet
from jiidm.train import validation
from jiidm.train.autoencoder import train_autoencoder
from jiidm.train.diffusion import train_diffusion
from jiidm.train.segmenter import SEGMENTER_FILE, train_segmenter
from jiidm.train.validation import Validation
from ldm_jittor import checkpoint
from ldm_jittor.autoencoder import LatentSpace
from ldm_jittor.files import atomic_path

SAMPLE_ROWS = 4
AVERAGED = 2
"""How many of the best checkpoints make the model."""
MODEL_SECTIONS = ("seed", "data", "autoencoder", "unet", "schedule", "autoencoder_training")
SEGMENTER_SECTIONS = ("seed", "data", "segmenter")


def train(
    config: Config,
    data: Path | None,
    folder: Path,
    autoencoder_file: Path | None = None,
    inception_file: Path | None = None,
    hooks: Hooks = PLAIN,
) -> Path:
    """Train in `folder`, going on where an earlier call stopped; returns the finished model's path.

    Without `data` landscapes are generated. `autoencoder_file` is used instead of training one, and the weights in
    `inception_file` for distances of validation images, if the config asks for any. `hooks` are those of the pipeline.
    The model is the mean of the two checkpoints of the smallest distances (Eq. 7), or of fewer than two the last
    average.
    Raises InputError for faulty data, or a folder that holds another run.
    """
    _refuse_other_run(config, folder, MODEL_SECTIONS)
    judge = _load_judge(config, inception_file)
    root = data or _generate(config, config.data.size, folder / "data")
    train_pairs, validation_pairs = _prepare_data(config, root, folder)
    distances = _distances(config, validation_pairs, folder, judge, hooks)
    _keep_config(config, folder)

    provenance = _provenance(len(train_pairs), data)
    autoencoder_path = folder / "autoencoder.safetensors"
    if autoencoder_file is None and not autoencoder_path.exists():
        train_autoencoder(config, train_pairs, validation_pairs, folder, provenance)
    source = autoencoder_file or autoencoder_path
    config = with_stored_scale(config, source)
    autoencoder = load_autoencoder(source, config.autoencoder)

    # latents belong to the weights that made them
    latents = folder / "latents" / sha256(source)[:12]
    pairs = [*train_pairs, *validation_pairs]
    encode_dataset(autoencoder, pairs, latents, config.data.size, config.autoencoder.downsample)
    train_stems, validation_stems = ([pair.stem for pair in part] for part in (train_pairs, validation_pairs))
    scale = config.autoencoder.latent_scale

    def show_samples(model: Model, picture: Path) -> None:
        _sample_sheet(model, train_pairs, validation_pairs, picture, hooks)

    averages, steps = train_diffusion(
        config,
        LatentDataset(latents, train_stems, scale),
        LatentDataset(latents, validation_stems, scale),
        folder,
        LatentSpace(autoencoder, scale),
        provenance,
        show_samples,
        distances,
    )
    provenance = {"steps": steps, **provenance}
    path = folder / MODEL_FILE
    if distances and _has_best(folder):
        validation.average_best(folder, path, [1 / AVERAGED] * AVERAGED, config, provenance)
    else:
        if distances:
            print(f"{path}: the last averaged weights, for there are no two checkpoints with a distance")
        save_model(path, config, checkpoint.state_dict(autoencoder), averages, provenance)
    return path


def _has_best(folder: Path) -> bool:
    """Whether the best checkpoints are there to be averaged."""
    best = validation.ranked(folder)[:AVERAGED]
    return len(best) == AVERAGED and all(entry.path.is_file() for entry in best)


def _load_judge(config: Config, inception_file: Path | None) -> tuple[str, Network] | None:
    """The name and the network of the distance that training takes, if it takes any."""
    if config.diffusion_training.distance_every:
        return validation.load_network(inception_file)
    if inception_file:
        raise InputError(f"{inception_file}: no distance is taken; set diffusion_training.distance_every")
    return None


def _distances(
    config: Config, pairs: list[Pair], folder: Path, judge: tuple[str, Network] | None, hooks: Hooks
) -> Validation | None:
    if judge is None:
        return None
    if len(pairs) < 2:
        print("validation: no distance to the photos is taken of a single image")
        return None
    distances = Validation(config, pairs, folder, *judge, hooks)
    print(f"validation: {distances.describe()}")
    return distances


def train_judge(config: Config, data: Path | None, folder: Path) -> Path:
    """Train a segmenter in `folder` as `train` trains a model; returns the finished file's path. Raises as it does."""
    _refuse_other_run(config, folder, SEGMENTER_SECTIONS)
    path = folder / SEGMENTER_FILE
    if not path.exists():
        root = data or _generate(config, config.segmenter.size, folder / "data")
        train_pairs, validation_pairs = _prepare_data(config, root, folder)
        _keep_config(config, folder)
        provenance = {"steps": config.segmenter.max_steps, **_provenance(len(train_pairs), data)}
        train_segmenter(config, train_pairs, validation_pairs, folder, provenance)
    return path


def _refuse_other_run(config: Config, folder: Path, sections: Sequence[str]) -> None:
    """Create the run folder, or see that the config found there trains the same model."""
    path = folder / "config.yaml"
    if path.exists():
        before = configs.load_saved(path)
        for section in sections:
            if getattr(before, section) != getattr(config, section):
                raise InputError(f"{path}: this run was started with another {section}; choose another --run folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(f"{folder}: cannot write the training run there ({error.strerror})") from None


def _keep_config(config: Config, folder: Path) -> None:
    with atomic_path(folder / "config.yaml") as temporary:
        temporary.write_text(configs.to_yaml(config), encoding="utf-8")


def _generate(config: Config, size: tuple[int, int], root: Path) -> Path:
    if config.seed == DEMO_SEED:
        raise InputError(f"seed {DEMO_SEED} is kept for landscapes that no model has been trained on; choose another")
    print(f"no data given: generating {config.data.synthetic_count} landscapes in {root}")
    write_dataset(root, config.data.synthetic_count, size, seed=config.seed)
    return root


def _prepare_data(config: Config, root: Path, folder: Path) -> tuple[list[Pair], list[Pair]]:
    """Check every file the first time, then split; the split is kept in `folder`/split."""
    split_folder = folder / "split"
    if split_folder.exists():
        return read_split(split_folder, find_pairs(root))
    found = survey(root)
    if found.faults:
        more = f" (and {len(found.faults) - 1} more; `python -m jiidm data check {root}` lists them)"
        raise InputError(f"{found.faults[0]}{more if len(found.faults) > 1 else ''}")
    train_pairs, validation_pairs = split(find_pairs(root), config.data.validation_fraction, config.seed)
    if not train_pairs or not validation_pairs:
        raise InputError(f"{root}: {found.num_pairs} pairs are too few to train and validate on")
    write_split(split_folder, train_pairs, validation_pairs, config.seed)
    print(f"data: {len(train_pairs)} training and {len(validation_pairs)} validation pairs in {root}")
    return train_pairs, validation_pairs


def _sample_sheet(
    model: Model, train_pairs: list[Pair], validation_pairs: list[Pair], picture: Path, hooks: Hooks
) -> None:
    """Paint the first validation masks in the styles of their references and lay them out."""
    config = model.config
    images = {pair.image.name: pair.image for pair in train_pairs}
    references = pair_references(train_pairs, validation_pairs, config.seed)
    shown = validation_pairs[:SAMPLE_ROWS]
    inputs = [Input(pair.stem, pair.label, images[references[pair.label.name]]) for pair in shown]
    names = {pair.stem for pair in shown}
    results = Pipeline(model).stream(inputs, seed=config.seed, show_starts=names, hooks=hooks)
    rows = [
        [result.reference, colorize(result.mask), result.start, result.image, load_image(pair.image, config.data.size)]
        for pair, result in zip(shown, results)
    ]
    picture.parent.mkdir(exist_ok=True)
    contact_sheet(rows, picture, ["reference", "mask", "noisy start", "result", "mask's own photo"])


def _provenance(num_images: int, data: Path | None) -> dict[str, Any]:
    import jittor as jt

    source = f"generator version {GENERATOR_VERSION}" if data is None else os.fspath(data)
    return {
        "images": num_images,
        "data": source,
        "generator_version": GENERATOR_VERSION if data is None else stored_version(data),
        "jittor": jt.__version__,
        "numpy": np.__version__,
    }
