"""What each command does with its arguments. Jittor is imported by the command that needs it, not before."""

from __future__ import annotations

import sys
from pathlib import Path

from jiidm.errors import InputError


def start_jittor(device: str) -> None:
    from jiidm.system import runtime

    chosen = runtime.prepare(device)
    print(f"device: {chosen.device}{f' ({chosen.note})' if chosen.note else ''}")
    runtime.use_device(chosen.device)


def train(arguments) -> int:
    from jiidm.config import load as configs

    config = configs.load_config(arguments.config, arguments.set)
    folder = arguments.folder or Path("runs") / config.name
    start_jittor(arguments.device)
    if arguments.dry_run:
        return _print_footprint(config)
    from jiidm.experiments.released import hooks_for
    from jiidm.train.run import train

    path = train(config, arguments.data, folder, arguments.autoencoder, arguments.inception, hooks_for(config))
    print(f"trained model: {path}\nuse it with: bash run_infer.sh MASKS REFS.json OUT --checkpoint {path}")
    return 0


def infer(arguments) -> int:
    from jiidm.data.identity import made_by
    from jiidm.inference.folder import OutputFolder
    from jiidm.inference.infer import paint_folder
    from jiidm.inference.inputs import check_inputs, write_demo_inputs

    if (arguments.masks is None) != (arguments.out is None):
        raise InputError("give MASKS, REFS.json and OUT, or none of them")
    folder = OutputFolder(arguments.out or "out")
    # what can be wrong is looked at before Jittor takes its seconds to start
    jobs = check_inputs(arguments.masks, arguments.references, arguments.data) if arguments.masks else []
    start_jittor(arguments.device)
    model_path, config = _choose_model(arguments)
    from jiidm.experiments.released import hooks_for
    from jiidm.model.files import sha256

    if arguments.dry_run:
        return _print_footprint(config)
    demo = not jobs
    if demo:
        folder.prepare()
        jobs = check_inputs(*write_demo_inputs(folder.run_folder, config.data.size), None)
    identity = made_by(sha256(model_path), config, arguments.seed)
    # the demo's images are nobody's work, and the demo has to show the model that is there now
    folder.claim(identity, jobs, repaint=demo)
    paint_folder(folder, jobs, model_path, config, arguments.seed, identity, hooks_for(config))
    return 0


def _choose_model(arguments):
    """The model file and the config to run it with; says which."""
    from jiidm.config import load as configs
    from jiidm.model import files as model
    from ldm_jittor import checkpoint

    path = arguments.checkpoint or model.find_model()
    checkpoint.load_metadata(path)  # a missing or foreign file is told before anything else is done
    if arguments.config:
        config = model.with_stored_scale(configs.load_config(arguments.config), path)
    else:
        config = model.stored_config(path)
    overrides = list(arguments.set)
    if arguments.batch_size is not None:
        overrides.append(f"inference.batch_size={arguments.batch_size}")
    config = configs.override(config, overrides)
    if arguments.fast:
        config = configs.fast(config)
    print(f"model: {path} ({config.name}, {config.data.size[0]}x{config.data.size[1]})")
    return path, config


def _print_footprint(config) -> int:
    from jiidm.model.footprint import describe

    print(describe(config))
    return 0


def data_check(arguments) -> int:
    from jiidm.data.pairs import survey
    from jiidm.report.sheets import table

    found = survey(arguments.data, arguments.size)
    for fault in found.faults:
        print(f"error: {fault}", file=sys.stderr)
    sizes = ", ".join(f"{count} of {w}x{h}" for (w, h), count in found.sizes.most_common())
    print(f"{found.num_pairs} pairs, {len(found.faults)} faults; sizes: {sizes}")
    print(table([(name, 100 * share) for name, share in found.class_shares()], ("class", "% of pixels")))
    return 2 if found.faults else 0


def data_split(arguments) -> int:
    from jiidm.data import pairs as data

    train, validation = data.split(data.find_pairs(arguments.data), arguments.validation_fraction, arguments.seed)
    data.write_split(arguments.out, train, validation, arguments.seed)
    print(f"{len(train)} training and {len(validation)} validation pairs, listed in {arguments.out}")
    return 0


def data_encode(arguments) -> int:
    start_jittor(arguments.device)
    from jiidm.data.latents import encode_dataset
    from jiidm.data.pairs import find_pairs
    from jiidm.model import files as model

    loaded = model.load_model(arguments.checkpoint or model.find_model())
    pairs = find_pairs(arguments.data)
    config = loaded.config
    encode_dataset(loaded.space.autoencoder, pairs, arguments.out, config.data.size, config.autoencoder.downsample)
    print(f"{len(pairs)} pairs encoded in {arguments.out}")
    return 0


def data_synth(arguments) -> int:
    from jiidm.data.synthetic.dataset import write_dataset

    write_dataset(arguments.out, arguments.count, arguments.size, seed=arguments.seed)
    print(f"{arguments.count} landscapes in {arguments.out}")
    return 0


def export(arguments) -> int:
    from jiidm.system import runtime

    runtime.prepare("cpu")
    from jiidm.model.files import export_half

    export_half(arguments.source, arguments.target)
    print(f"{arguments.target}: {arguments.target.stat().st_size / 1e6:.1f} MB")
    return 0


def schedule(arguments) -> int:
    from jiidm.system import runtime

    runtime.prepare("cpu")
    from jiidm.experiments.starts import describe_starts

    print(describe_starts(arguments.configs))
    return 0


def doctor(arguments) -> int:
    from jiidm.system import doctor

    return doctor.run(arguments.quick)
