"""The commands for training data: `jiidm data check`, `split`, `encode`, `synth` and `label`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from jiidm.cli import console, options
from jiidm.size import CHALLENGE_SIZE


def add_data(commands: Any) -> None:
    group = commands.add_parser("data", help="Check, split, encode, generate or label training data.")
    actions = group.add_subparsers(title="actions", required=True, metavar="ACTION")
    _add_check(actions)
    _add_split(actions)
    _add_encode(actions)
    _add_synth(actions)
    _add_label(actions)


def _add_check(actions: Any) -> None:
    parser = options.add_command(actions, "check", _check, "Name every fault of a data folder.")
    _add_data(parser)
    help = "size that every file must have, e.g. 512x384"
    parser.add_argument("--size", type=options.size, metavar="WxH", help=help)


def _check(arguments: argparse.Namespace) -> int:
    from jiidm.data.pairs import survey
    from jiidm.report.tables import table

    found = survey(arguments.data, arguments.size)
    for fault in found.faults:
        console.tell_error(fault)
    sizes = ", ".join(f"{count} of {size}" for size, count in found.sizes.most_common())
    print(f"{found.num_pairs} pairs, {len(found.faults)} faults; sizes: {sizes}")
    print(table([(name, 100 * share) for name, share in found.class_shares()], ("class", "% of pixels")))
    return 2 if found.faults else 0


def _add_split(actions: Any) -> None:
    parser = options.add_command(actions, "split", _split, "Write train.txt, val.txt and val_references.json.")
    _add_data(parser)
    parser.add_argument("out", type=Path, help="folder for the lists")
    help = "share of the pairs that nothing is trained on (default: 0.05)"
    parser.add_argument("--validation-fraction", type=float, default=0.05, metavar="F", help=help)
    _add_seed(parser)


def _split(arguments: argparse.Namespace) -> None:
    from jiidm.data import pairs

    train, validation = pairs.split(pairs.find_pairs(arguments.data), arguments.validation_fraction, arguments.seed)
    pairs.write_split(arguments.out, train, validation, arguments.seed)
    print(f"{len(train)} training and {len(validation)} validation pairs, listed in {arguments.out}")


def _add_encode(actions: Any) -> None:
    parser = options.add_command(actions, "encode", _encode, "Encode every image into the latent training cache.")
    _add_data(parser)
    parser.add_argument("out", type=Path, help="folder for the latents")
    help = "model whose autoencoder encodes (default: last finished run, else shipped)"
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help=help)
    options.add_shard_option(parser)
    options.add_device_option(parser)


def _encode(arguments: argparse.Namespace) -> None:
    options.start_jittor(arguments.device)
    from jiidm.data.identity import hash_files
    from jiidm.data.latents import encode_dataset
    from jiidm.data.pairs import files_of, find_pairs
    from jiidm.model.files import ModelFile, find_model

    model = ModelFile(arguments.checkpoint or find_model())
    config = model.config
    autoencoder, pairs = model.load_autoencoder(config.autoencoder), find_pairs(arguments.data)
    hashes = hash_files(files_of(pairs))
    size, downsample = config.data.size, config.autoencoder.downsample
    shard = arguments.shard
    encode_dataset(autoencoder, model.sha256, pairs, hashes, arguments.out, size, downsample, shard)
    print(f"{len(pairs)} pairs{f', {shard},' if shard.count > 1 else ''} encoded in {arguments.out}")


def _add_synth(actions: Any) -> None:
    parser = options.add_command(actions, "synth", _synth, "Generate landscapes with exact masks.")
    parser.add_argument("out", type=Path, help="data folder to write")
    parser.add_argument("--count", type=int, default=100, metavar="N", help="how many (default: 100)")
    help = "their size (default: 512x384)"
    parser.add_argument("--size", type=options.size, default=CHALLENGE_SIZE, metavar="WxH", help=help)
    _add_seed(parser)


def _synth(arguments: argparse.Namespace) -> None:
    from jiidm.data.synthetic.dataset import write_dataset

    write_dataset(arguments.out, arguments.count, arguments.size, seed=arguments.seed)
    print(f"{arguments.count} landscapes in {arguments.out}")


def _add_label(actions: Any) -> None:
    parser = options.add_command(
        actions,
        "label",
        _label,
        "Make training data of photos: a segmenter gives each its mask.",
        """example:
  jiidm data label photos/ mydata/ --segmenter segformer-b5-finetuned-ade-640-640/
  jiidm data check mydata/
OUT/contact.jpg shows photos, masks and both over each other, the least sure ones last. The same command goes on with
what is missing; photos that have changed are labelled again.""",
    )
    parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument("out", type=Path, help="data folder to write")
    options.add_segmenter_options(parser)
    help = "size of the photos and masks written; photos are stretched to it (default: 512x384)"
    parser.add_argument("--size", type=options.size, default=CHALLENGE_SIZE, metavar="WxH", help=help)
    options.add_shard_option(parser)
    options.add_device_option(parser)


def _label(arguments: argparse.Namespace) -> int:
    from jiidm.evaluate import label
    from jiidm.report.tables import table

    photos, shard = label.find_own_photos(arguments.photos), arguments.shard
    options.start_jittor(arguments.device)
    segmenter = options.load_segmenter(arguments)
    faults = label.label_photos(photos, arguments.out, segmenter, arguments.size, shard)
    for fault in faults.values():
        console.tell_error(fault)
    found = label.summarize([photo for photo in photos if photo not in faults], arguments.out)
    if found is None:
        print(f"{shard} is labelled; the part that comes last tells the classes")
        return 2 if faults else 0
    print(table([(name, 100 * share) for name, share in found.survey.class_shares()], ("class", "% of pixels")))
    print(f"{found.survey.num_pairs} photos with masks in {arguments.out}; look at {arguments.out / 'contact.jpg'}")
    if found.doubtful:
        least = ", ".join(found.doubtful[:10]) + (" ..." if len(found.doubtful) > 10 else "")
        print(f"{len(found.doubtful)} of them doubtful, sure of less than {label.UNSURE:.0%}: {least}")
    return 2 if faults else 0


def _add_data(parser: options.Parser) -> None:
    parser.add_argument("data", type=Path, help="folder with imgs/*.jpg and labels/*.png")


def _add_seed(parser: options.Parser) -> None:
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the random choice (default: 0)")
