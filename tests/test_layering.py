"""The rules of the house that no single module can test: who imports whom, what an import does, how long a file is."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from processes import PROJECT, run_python

KIT = sorted((PROJECT / "jiidm").rglob("*.py"))
CORE = sorted((PROJECT / "ldm_jittor").rglob("*.py"))

FLOORS = (
    {"ldm_jittor"},
    {"errors", "classes", "color", "seeding", "size"},
    {"system", "config"},
    {"data"},
    {"model"},
    {"report"},
    {"pipeline"},
    {"inference"},
    {"evaluate"},
    {"train"},
    {"baselines"},
    {"experiments", "painter"},
    {"cli", "api"},
    {"__main__"},
)
"""Low to high. A room imports lower ones only; rooms of one floor do not know each other."""

LOADS_JITTOR = {
    *("jiidm.pipeline", "jiidm.data.latents", "jiidm.experiments.starts"),
    *(f"jiidm.model.{name}" for name in ("build", "files", "convert", "average", "footprint", "gflop")),
    *(f"jiidm.model.gan.{name}" for name in ("layers", "norms", "spectral_norm", "generator", "init", "encoder")),
    *(f"jiidm.model.gan.{name}" for name in ("spade", "clade", "sean", "scgan", "discriminators", "oasis", "vgg")),
    *(f"jiidm.evaluate.{name}" for name in ("segformer", "segmenter", "inception", "nima", "score", "further")),
    *(f"jiidm.evaluate.{name}" for name in ("clip", "laion", "lpips", "chooser")),
    *(f"jiidm.train.{name}" for name in ("stage", "state", "optimizer", "checkpoints", "loop", "validation", "run")),
    *(f"jiidm.train.{name}" for name in ("autoencoder", "diffusion", "segmenter", "report", "forecast")),
    "jiidm.train.ranked_stage",
    *(f"jiidm.experiments.{name}" for name in ("ablation", "released", "sweep", "trials", "orderings", "impartial")),
    "jiidm.experiments.leaderboard",
    *(f"jiidm.experiments.{name}" for name in ("table1", "table1_report", "speed")),
    *(f"jiidm.experiments.selftest.{name}" for name in ("checks", "operators", "networks", "run")),
    *(
        f"jiidm.baselines.{name}"
        for name in ("adversarial", "build", "convert", "cost", "losses", "model", "perceptual")
    ),
    *(f"jiidm.baselines.{name}" for name in ("pipeline", "run", "stage")),
    "jiidm.__main__",  # runs the command line
}
"""The rest is what `--help`, the set-up scripts and the checks before a run import."""


def module_name(path: Path) -> str:
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> set[str]:
    """Full names of everything a file imports, within functions too: modules, and names out of modules."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def room(name: str) -> str | None:
    """The room that a full name belongs to, None for other projects' names and for `jiidm` itself."""
    package, *inner = name.split(".")
    if package == "ldm_jittor":
        return package
    return inner[0] if package == "jiidm" and inner and not inner[0].startswith("__version__") else None


def floor(name: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if name in rooms)


def test_there_is_something_to_look_at():
    assert len(KIT) > 20 and len(CORE) > 8
    assert "jiidm.errors.InputError" in imported(PROJECT / "jiidm" / "config" / "load.py")


@pytest.mark.parametrize("path", KIT, ids=module_name)
def test_a_room_imports_lower_rooms_only(path):
    own = room(module_name(path))
    if own is None:  # the package's own __init__ hands out names of the facade
        own = "api"
    for name in imported(path):
        other = room(name)
        if other not in (None, own):
            assert floor(other) < floor(own), f"{own} imports {name}"


@pytest.mark.parametrize("path", CORE, ids=module_name)
def test_the_core_knows_arrays_and_modules_only(path):
    assert not packages(path) & {"jiidm", "yaml", "argparse", "PIL", "cv2", "tqdm", "matplotlib"}


def test_the_cores_own_order():
    """ops -> layers -> autoencoder, unet; schedules -> denoiser -> samplers; schedules -> losses; updates -> ema."""
    allowed = {
        "ops": set(),
        "errors": set(),
        "checksum": set(),
        "temporaries": set(),
        "files": {"temporaries"},
        "pixels": set(),
        "layers": {"ops"},
        "schedules": set(),
        "updates": set(),
        "ema": {"updates"},
        "formats": {"formats"},
        "checkpoint": {"checksum", "errors", "files", "formats"},
        "averaging": {"checkpoint", "checksum", "errors", "files"},
        "autoencoder": {"layers", "ops"},
        "gradient_checkpointing": set(),
        "thumbnail_init": {"autoencoder", "layers"},
        "unet": {"gradient_checkpointing", "layers", "ops"},
        "denoiser": {"schedules", "unet"},
        "samplers": {"denoiser", "schedules"},
        "losses": {"schedules"},
    }
    for path in CORE:
        place = module_name(path).split(".")[1:2]
        ours = {name.split(".")[1] for name in imported(path) if name.startswith("ldm_jittor.")}
        assert ours <= allowed[place[0]] if place else not ours, path


@pytest.mark.parametrize("path", KIT + CORE, ids=module_name)
def test_no_module_acts_when_imported(path):
    """Top-level statements define names; nothing is called for its effect."""
    if path.stem == "__main__":
        return
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        defines = isinstance(
            node,
            (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign),
        )
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        type_only = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        as_a_script = isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"
        assert defines or docstring or type_only or as_a_script, f"{path.name}:{node.lineno}"


def test_modules_import_without_jittor_and_without_a_trace(tmp_path):
    names = [name for name in map(module_name, KIT) if name not in LOADS_JITTOR]
    code = f"""
import importlib, os, sys
import cv2, numpy, PIL.Image, yaml  # cv2 changes the environment for itself
before = dict(os.environ), list(sys.argv), os.getcwd(), list(sys.path)
for name in {names}:
    importlib.import_module(name)
    assert not {{"jittor", "matplotlib"}} & set(sys.modules), name
    assert (dict(os.environ), list(sys.argv), os.getcwd(), list(sys.path)) == before, name
"""
    done = run_python(code, folder=tmp_path, PYTHONDONTWRITEBYTECODE="1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", KIT + CORE, ids=module_name)
def test_no_function_has_the_name_of_something_imported(path):
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    functions = {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    imports = [node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {alias.asname or alias.name.split(".")[0] for node in imports for alias in node.names}
    assert not functions & names


@pytest.mark.parametrize("path", KIT + CORE, ids=module_name)
def test_only_the_command_line_and_the_doctor_print(path):
    """The rest logs, so that programs which use the library can choose."""
    if room(module_name(path)) != "cli" and path.stem != "doctor":
        calls = [node.func for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
        assert not [call.lineno for call in calls if isinstance(call, ast.Name) and call.id == "print"]


@pytest.mark.parametrize("path", KIT + CORE, ids=module_name)
def test_files_stay_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
