"""What the commands that judge images do: score, submit, compare."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from jiidm.cli.commands import start_jittor
from jiidm.errors import InputError


def score(arguments) -> int:
    from jiidm.inference import scorecard
    from jiidm.inference.folder import OutputFolder
    from jiidm.inference.inputs import check_inputs

    if arguments.inception and not arguments.real:
        raise InputError(f"--inception {arguments.inception}: FID takes real photos too, --real DIR")
    # what can be wrong is looked at before Jittor takes its seconds to start
    jobs = check_inputs(arguments.masks, arguments.refs, arguments.data)
    folder = OutputFolder(arguments.out)
    if faults := folder.faults(jobs):
        return _refuse(faults)
    folder.prepare()
    start_jittor(arguments.device)
    from jiidm.evaluate import score as scoring

    card = scoring.score(arguments.out, jobs, load_evaluators(arguments), arguments.real)
    with _writing(arguments.out):
        path = scorecard.save(arguments.out, card)
    print(scorecard.as_table([(str(arguments.out), card["scores"])]))
    for name, reason in card["absent"].items():
        print(f"{name} is absent: {reason}")
    for warning in card["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"per image, and with what: {path}")
    return 0


def load_evaluators(arguments):
    """`scoring.Evaluators` of what --segmenter, --inception and --aesthetic name."""
    from jiidm.evaluate import inception
    from jiidm.evaluate import nima as aesthetic
    from jiidm.evaluate import score as scoring
    from jiidm.evaluate import segmenter as segformer

    judge = aesthetic.load(arguments.aesthetic) if arguments.aesthetic else None
    standard = inception.load(arguments.inception) if arguments.inception else None
    segmenter = segformer.load(arguments.segmenter or segformer.SHIPPED)
    if standard:
        return scoring.Evaluators(segmenter, standard, "FID", judge)
    # the shipped segmenter's features even where another one judges: distances by other features do not compare
    return scoring.Evaluators(segmenter, segformer.load(segformer.SHIPPED), "fd_seg", judge)


def submit(arguments) -> int:
    from jiidm.data.references import list_masks
    from jiidm.inference import submit

    masks = list_masks(arguments.masks)
    if not 0 <= arguments.select <= len(masks):
        raise InputError(f"--select {arguments.select}: must lie between 0 and the number of masks, {len(masks)}")
    if faults := submit.check(arguments.out, masks, arguments.size):
        return _refuse(faults)
    ranking, rule = submit.rank(arguments.out, masks)
    best = ranking[: arguments.select]
    with _writing(arguments.out):
        path = submit.pack(arguments.out, masks)
        folder = submit.select(arguments.out, best)
    print(f"{len(masks)} images without fault in {path} ({path.stat().st_size / 1e6:.1f} MB)")
    if best:
        print(f"selected for the vote in {folder}: {', '.join(best)} ({rule})")
    return 0


def compare(arguments) -> int:
    from jiidm.experiments import compare
    from jiidm.inference.inputs import check_inputs

    if (arguments.masks is None) != (arguments.refs is None):
        raise InputError("give --masks and --refs, or neither")
    jobs = check_inputs(arguments.masks, arguments.refs, arguments.data) if arguments.masks else []
    print(compare.table(arguments.runs))
    with _writing(arguments.out):
        compare.picture(arguments.runs, jobs, arguments.out)
    print(f"side by side: {arguments.out}")
    return 0


def train_segmenter(arguments) -> int:
    from jiidm.config import load as configs

    config = configs.load_config(arguments.config, arguments.set)
    folder = arguments.folder or Path("runs") / f"{config.name}_segmenter"
    start_jittor(arguments.device)
    from jiidm.train.run import train_judge

    path = train_judge(config, arguments.data, folder)
    print(f"trained segmenter: {path}\nuse it with: jiidm score OUT ... --segmenter {path}")
    return 0


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{error.filename2 or error.filename or target}: cannot be written ({error.strerror})"
        ) from error


def _refuse(faults: Sequence[str]) -> int:
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return 2
