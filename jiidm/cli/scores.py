"""The commands that score images: `jiidm score`, `submit` and `compare`."""

from __future__ import annotations

import argparse
import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jiidm.cli import console, options, report
from jiidm.errors import InputError
from jiidm.size import CHALLENGE_SIZE

if TYPE_CHECKING:
    from jiidm.evaluate.further import Measured

    Findings = tuple[dict[str, Any], dict[str, Measured]]

logger = logging.getLogger(__name__)


def add_score(commands: Any) -> None:
    parser = options.add_command(
        commands,
        "score",
        _score,
        "Score an output folder: M, A, FID, S and the total T. OUT/_run/scores.json keeps them.",
        """examples:
  jiidm score out/ --masks test_masks/ --refs refs.json                        M and S
  jiidm score out/ --masks test_masks/ --refs refs.json --real train/ \\
    --inception pt_inception-2015-12-05-6726825d.pth --aesthetic nima.pth      all of them
A score is absent where its weights or photos are not given. T is absent where any other score is.""",
    )
    parser.add_argument("out", type=Path, help="folder with one <mask>.jpg for every mask")
    options.add_mask_options(parser, required=True)
    parser.add_argument(
        "--real", type=Path, metavar="DIR", help="folder of real photos, or a data folder, that FID compares with"
    )
    options.add_evaluator_options(parser)
    options.add_perceptual_option(parser)
    options.add_shard_option(parser)
    options.add_device_option(parser)


def _score(arguments: argparse.Namespace) -> int:
    check_options(arguments)
    findings = run_score(arguments)
    return findings if isinstance(findings, int) else 0


def check_options(arguments: argparse.Namespace) -> None:
    """Raises InputError for options that do not go together."""
    if arguments.inception and not arguments.real:
        raise InputError(f"--inception {arguments.inception}: FID needs real photos too; give --real DIR")
    options.check_evaluator_options(arguments)


def run_score(arguments: argparse.Namespace, jittor_runs: bool = False) -> Findings | int:
    """Score `out`, write and print what is found, and return it; else the exit status."""
    from jiidm.inference import scorecard
    from jiidm.inference.folder import OutputFolder
    from jiidm.inference.inputs import check_inputs
    from jiidm.inference.report import write_report

    # inputs are checked before Jittor is loaded
    jobs = check_inputs(arguments.masks, arguments.refs, arguments.data)
    folder = OutputFolder(arguments.out)
    if faults := folder.faults(jobs):
        return _refuse(faults)
    if outdated := folder.outdated(jobs):
        told = "%s holds %d images made with other files than these masks and references, the first %s.jpg"
        logger.warning(told, folder, len(outdated), outdated[0].stem)
    folder.prepare()
    if not jittor_runs:
        options.start_jittor(arguments.device)
    from jiidm.evaluate.further import add_further
    from jiidm.evaluate.score import examine, examine_shard

    given = arguments.out, jobs, options.load_evaluators(arguments), arguments.real
    perceptual = options.load_perceptual(arguments)
    if arguments.shard.count > 1:
        with writing(arguments.out):
            examined = examine_shard(*given, arguments.shard)
        if examined is None:
            print(f"{arguments.shard} is scored; the part that comes last writes the scores")
            return 0
        print(f"{arguments.shard} is scored, and all others")
    else:
        examined = examine(*given)
    card = examined.card
    with writing(arguments.out):
        measured = add_further(examined, arguments.out, perceptual)
        path = scorecard.save(arguments.out, card)
        page = write_report(arguments.out, jobs)
    print(_measured_table(measured))
    if arguments.inception:
        print(
            f"FID, KID, precision, recall: images reach Inception's size as in {arguments.fid_resize or 'pytorch-fid'}"
        )
    for name, reason in card["absent"].items():
        print(f"{name} is absent: {reason}")
    for warning in card["warnings"]:
        logger.warning("%s", warning)
    if "nearest" in card:
        print(f"the images nearest to real photos: {arguments.out / '_run' / 'nearest.jpg'}")
    print(f"per image and class, and with what: {path}")
    report.tell(page)
    return card, measured


def _measured_table(measured: Mapping[str, Measured]) -> str:
    """A line per score, with its interval."""
    from jiidm.report.tables import table

    def shown(name: str, value: float) -> str:
        return f"{value:.5f}" if name in ("KID", "LPIPS") else f"{value:.2f}"

    rows = [
        (name, shown(name, found.value), " to ".join(shown(name, end) for end in found.interval or ()), found.of)
        for name, found in measured.items()
    ]
    return table(rows, ("score", "value", "95 % interval", "of"))


def add_submit(commands: Any) -> None:
    parser = options.add_command(
        commands,
        "submit",
        _submit,
        "Check a folder against the list of masks, zip it as OUT.zip, and copy the best images to OUT/selects.",
        """The best images have the highest M (0.2 A + 0.3 (50 + S / 2)) in OUT/_run/scores.json, without A where it was
not measured. Without that file they are the largest files.""",
    )
    parser.add_argument("out", type=Path, help="folder with one <mask>.jpg for every mask")
    parser.add_argument("masks", type=Path, help="folder of the masks, or the references JSON that names them")
    help = "size of every image (default: 512x384)"
    parser.add_argument("--size", type=options.size, default=CHALLENGE_SIZE, metavar="WxH", help=help)
    parser.add_argument("--select", type=int, default=3, metavar="N", help="how many images to select (default: 3)")


def _submit(arguments: argparse.Namespace) -> int:
    from jiidm.data.references import list_masks, spelled_as
    from jiidm.inference import submit

    masks = spelled_as(list_masks(arguments.masks), arguments.out)
    if not 0 <= arguments.select <= len(masks):
        raise InputError(f"--select {arguments.select}: must lie between 0 and the number of masks, {len(masks)}")
    if faults := submit.check(arguments.out, masks, arguments.size):
        return _refuse(faults)
    ranking, rule = submit.rank(arguments.out, masks)
    best = ranking[: arguments.select]
    with writing(arguments.out):
        path = submit.pack(arguments.out, masks)
        folder = submit.select(arguments.out, best)
    print(f"{len(masks)} images without fault in {path} ({path.stat().st_size / 1e6:.1f} MB)")
    if best:
        print(f"selected for the vote in {folder}: {', '.join(best)} ({rule})")
    return 0


def add_compare(commands: Any) -> None:
    parser = options.add_command(
        commands,
        "compare",
        _compare,
        "Tabulate the scores of several output folders and draw their images side by side.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="output folder that `jiidm score` has scored")
    options.add_mask_options(parser, required=False)
    parser.add_argument("--out", type=Path, default=Path("comparison.jpg"), metavar="FILE", help=".jpg or .png")


def _compare(arguments: argparse.Namespace) -> None:
    from jiidm.experiments import compare
    from jiidm.inference.inputs import check_inputs

    if (arguments.masks is None) != (arguments.refs is None):
        raise InputError("give --masks and --refs, or neither")
    jobs = check_inputs(arguments.masks, arguments.refs, arguments.data) if arguments.masks else []
    print(compare.table(arguments.runs))
    with writing(arguments.out):
        compare.picture(arguments.runs, jobs, arguments.out)
    print(f"side by side: {arguments.out}")


def _refuse(faults: Sequence[str]) -> int:
    for fault in faults:
        console.tell_error(fault)
    return 2


@contextlib.contextmanager
def writing(target: Path) -> Iterator[None]:
    """While the block runs, a file that the system refuses to write is reported like any other bad input."""
    try:
        yield
    except OSError as error:
        path = error.filename2 or error.filename or target
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
