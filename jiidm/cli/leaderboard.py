"""`jiidm leaderboard`: images, scores and one page, by one command."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from jiidm.cli import infer, options, scores
from jiidm.system.shards import WHOLE


def add_leaderboard(commands: Any) -> None:
    parser = options.add_command(
        commands,
        "leaderboard",
        _leaderboard,
        "Generate images, score them, and write one page beside the paper's Table 1.",
        """example:
  jiidm leaderboard test_masks/ refs.json out/ --data train/ --real train/ --checkpoint runs/a/model.safetensors \\
    --segmenter segformer-b5-finetuned-ade-640-640/ --inception pt_inception-2015-12-05-6726825d.pth \\
    --aesthetic nima.pth
OUT/_run/leaderboard.html and .json tell T with its parts and intervals, what fills an empty cell, time and hashes.
Images that are there already are kept, as in `jiidm infer`.""",
    )
    parser.add_argument("masks", type=Path, help="folder of 8-bit label PNGs, classes 0-28")
    parser.add_argument("references", type=Path, help='JSON {"<mask>.png": "<image>.jpg"}')
    parser.add_argument("out", type=Path, help="output folder")
    help = "folder of real photos, or a data folder, that FID compares with"
    parser.add_argument("--real", type=Path, metavar="DIR", help=help)
    infer.add_generation_options(parser)
    options.add_evaluator_options(parser)
    options.add_perceptual_option(parser)
    options.add_device_option(parser)
    parser.set_defaults(shard=WHOLE, dry_run=False, candidates=1)


def _leaderboard(arguments: argparse.Namespace) -> int:
    scores.check_options(arguments)
    start = time.monotonic()
    infer.run_infer(arguments)
    made = time.monotonic()
    arguments.refs = arguments.references
    findings = scores.run_score(arguments, jittor_runs=True)
    if isinstance(findings, int):
        return findings
    from jiidm.experiments.leaderboard import write_leaderboard

    model = _made_by(arguments.out)
    seconds = {"images, those that were missing": made - start, "scores": time.monotonic() - made}
    with scores.writing(arguments.out):
        record, page = write_leaderboard(arguments.out, *findings, model, seconds)
    print(f"the page: {page}; its figures: {record}")
    return 0


def _made_by(out: Path) -> dict[str, Any]:
    """What made the images, as far as the folder records it: images from elsewhere may have been there before."""
    path = out / "_run" / "manifest.json"
    if not path.exists():
        return {"unknown": "the images were there before, and nothing is recorded of them"}
    manifest = json.loads(path.read_text(encoding="utf-8"))
    return {key: manifest[key] for key in ("model_file", "made_by")}
