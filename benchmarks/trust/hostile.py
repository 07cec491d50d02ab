"""Hostile inputs, drawn by hypothesis: names, JSON, YAML, EXIF, safetensors files and pickles.

    python -m benchmarks.trust.hostile

A command either does what it promises, with exit status 0, or refuses with status 2 and one line on stderr that names
the file, without a control character in it. It never ends in a traceback, runs nothing of what it reads, and leaves no
half-written file. Photos with odd metadata have to be accepted. The draws are the same at every call.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import shutil
import sys
import unicodedata
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.common import jittor_side
from benchmarks.trust.common import Broken, Figures, Record, Scene, make_scene, parser

LONG, SHORT = 30, 4
"""Inputs of a kind."""
CANARY = "hostile-input-was-run"
DIGITS = "a number of 5,000 digits"
_ODD = "\x00\x07\n\r\x1b\x7f\u200b\u202e\u3000\ufeff\ud800\U0001f600é\u0301国🏞 .-_~$&;|<>*?[]{}'\"`%\\:#@!="
odd_text = st.text(st.one_of(st.sampled_from(_ODD), st.characters()), max_size=60)


def call(*arguments: object) -> tuple[int, list[str]]:
    """A command in this process: its exit status, and the lines on stderr that tell of a fault."""
    from jiidm.cli.main import main

    shown, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(told):
        try:
            status = main([os.fspath(argument) for argument in arguments])
        except SystemExit as end:
            status = end.code
        except BaseException as error:
            raise Broken(f"{type(error).__name__}: {error}") from error
    lines = told.getvalue().split("\n")
    return status, [line for line in lines if line.startswith("error: ")]


def require_answer(status: int, errors: list[str], name: str, many: bool = False) -> None:
    """Raises Broken for anything but success, and a refusal in one line (or `many`) that tells `name`."""
    if status not in (0, 2) or bool(errors) != (status == 2) or len(errors) > 1 and not many:
        raise Broken(f"status {status}, told {errors}")
    for line in errors:
        if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in line):
            raise Broken(f"a control character in {line!r}")
    if errors and not any(name in line for line in errors):
        raise Broken(f"{name} is not named: {errors[0]!r}")


def require_nothing_run(folder: Path) -> None:
    if (folder / CANARY).exists() or Path(CANARY).exists():
        raise Broken("a file was run")


def usable(name: bytes) -> bool:
    return 0 < len(name) <= 251 and not set(name) & set(b"/\0") and name not in (b".", b"..")


names = st.one_of(st.binary(min_size=1, max_size=40), odd_text.map(lambda text: text.encode("utf-8", "surrogatepass")))


def a_name(scene: Scene, folder: Path, name: bytes) -> None:
    """What `data check` and the inputs' check accept has to be painted, under its own name."""
    stem, data = os.fsdecode(name), folder / "named"
    shutil.rmtree(data, ignore_errors=True)
    pair = sorted(scene.masks.iterdir())[0].stem
    for room, suffix in (("imgs", ".jpg"), ("labels", ".png")):
        (data / room).mkdir(parents=True)
        shutil.copy(scene.data / room / f"{pair}{suffix}", data / room / f"{stem}{suffix}")
    (data / "refs.json").write_text(json.dumps({f"{stem}.png": f"{stem}.jpg"}))
    require_answer(*call("data", "check", data), "named", many=True)
    status, errors = call(
        "infer", data / "labels", data / "refs.json", data / "out", "--checkpoint", scene.model, "--device", "cpu"
    )
    require_answer(status, errors, "named")
    made = [path for path in (data / "out").glob("*") if path.name != "_run"] if (data / "out").exists() else []
    if status == 0 and [os.fsencode(path.name) for path in made] != [name + b".jpg"]:
        raise Broken(f"it made {made}")
    if status and (any(path.is_file() for path in (data / "out").rglob("*"))):
        raise Broken("refused, it left files in the output folder")


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_subnormal=False), odd_text, st.just(DIGITS)
)
trees = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(odd_text, inner, max_size=4))
deep = st.integers(50, 100_000).flatmap(
    lambda depth: st.sampled_from(["[" * depth, '{"a":' * depth, "[" * depth + "]" * depth])
)


def as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).replace(f'"{DIGITS}"', "9" * 5000)


json_files = st.one_of(
    st.one_of(trees.map(as_json), deep).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.dictionaries(st.sampled_from(["synth_000000.png", "a.png"]), odd_text).map(lambda d: json.dumps(d).encode()),
    st.binary(max_size=200),
)


def a_json(scene: Scene, folder: Path, content: bytes) -> None:
    (folder / "hostile.json").write_bytes(content)
    out = folder / "json_out"
    answer = call("infer", scene.masks, folder / "hostile.json", out, "--checkpoint", scene.model, "--device", "cpu")
    require_answer(*answer, "hostile.json")
    if answer[0] == 0 or out.exists():
        raise Broken("accepted, or begun")


yaml_text = st.text(st.sampled_from("{}[]:-&*!<>|%@`\"'\n\t#,?~ 0123456789e.abc\x00\x1b\u2028"), max_size=80)
sections = st.sampled_from(
    ["name", "seed", "base", "data", "unet", "autoencoder", "schedule", "inference", "method", "x"]
)
yaml_files = st.one_of(
    yaml_text.map(lambda text: text.encode()),
    st.dictionaries(sections, trees).map(lambda tree: as_json(tree).encode("utf-8", "surrogatepass")),
    st.sampled_from(
        [
            b"!!python/object/apply:os.system ['touch " + CANARY.encode() + b"']",
            b"a: &a [*a]",
            b"seed: 2020-99-99",
            b"seed: " + b"9" * 5000,
            b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [*c,*c]",
            b"base: hostile.yaml",
            b"\xff\xfe\x00",
            b"<<: [1, 2]",
        ]
    ),
)


def a_yaml(scene: Scene, folder: Path, content: bytes) -> None:
    (folder / "hostile.yaml").write_bytes(content)
    require_answer(*call("schedule", folder / "hostile.yaml"), "hostile.yaml")
    require_nothing_run(folder)


metadata = st.one_of(
    st.binary(max_size=300),
    st.binary(max_size=60).map(lambda tail: b"II*\0\x08\0\0\0" + tail),
    st.binary(max_size=60).map(lambda tail: b"MM\0*\0\0\0\x08" + tail),
    st.tuples(
        st.integers(0, 65535), st.integers(0, 13), st.integers(0, 2**32 - 1), st.binary(min_size=4, max_size=4)
    ).map(
        lambda entry: (
            b"II*\0\x08\0\0\0\x01\0"
            + entry[0].to_bytes(2, "little")
            + entry[1].to_bytes(2, "little")
            + entry[2].to_bytes(4, "little")
            + entry[3]
            + b"\0\0\0\0"
        )
    ),
)


def an_exif(scene: Scene, folder: Path, content: bytes) -> None:
    """A square photo, since its metadata may turn it."""
    from PIL import Image

    data, plain = folder / "photo", io.BytesIO()
    for room in ("imgs", "labels"):
        (data / room).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64), (90, 120, 150)).save(plain, "JPEG")
    Image.new("L", (64, 64), 3).save(data / "labels" / "a.png")
    block = b"Exif\0\0" + content
    jpeg = plain.getvalue()
    (data / "imgs" / "a.jpg").write_bytes(
        jpeg[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + jpeg[2:]
    )
    status, errors = call("data", "check", data)
    if status:
        raise Broken(f"an intact photo is refused: {errors}")


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    places = st.integers(0, len(content) - 1)
    flip = st.tuples(places, st.integers(0, 7)).map(
        lambda at: content[: at[0]] + bytes([content[at[0]] ^ 1 << at[1]]) + content[at[0] + 1 :]
    )
    cut = places.map(lambda at: content[:at])
    patch = st.tuples(places, st.binary(min_size=1, max_size=12)).map(
        lambda at: content[: at[0]] + at[1] + content[at[0] + len(at[1]) :]
    )
    return st.one_of(flip, flip, cut, patch, st.binary(max_size=60), st.binary(max_size=30).map(lambda b: content + b))


def weights() -> dict[str, np.ndarray]:
    return {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b\n": np.ones(4, np.float16)}


def a_safetensors(scene: Scene, folder: Path, content: bytes) -> None:
    """Averaged with itself, a file is itself: what is accepted must be what was saved."""
    source, target = folder / "hostile.safetensors", folder / "mean.safetensors"
    source.write_bytes(content)
    target.unlink(missing_ok=True)
    status, errors = call("average", source, source, "--out", target)
    require_answer(status, errors, "hostile.safetensors")
    if status and target.exists():
        raise Broken("refused, it left a file")
    if status == 0:
        from ldm_jittor import checkpoint

        found = checkpoint.load(target).arrays
        for name, array in weights().items():
            if name not in found or not np.array_equal(found[name], array):
                raise Broken(f"{name!r} came out as another array, and nothing was said")


class _Runs:
    def __init__(self, callable_: Callable, *arguments: object):
        self.made_of = callable_, arguments

    def __reduce__(self):
        return self.made_of


def hostile_pickles() -> st.SearchStrategy[bytes]:
    payloads = st.sampled_from(
        [
            _Runs(os.system, f"touch {CANARY}"),
            _Runs(exec, f"open({CANARY!r}, 'w')"),
            _Runs(eval, f"open({CANARY!r}, 'w')"),
            _Runs(open, CANARY, "w"),
            _Runs(getattr, os, "system"),
            _Runs(np.load, CANARY),
        ]
    )
    wrapped = payloads.flatmap(lambda bad: st.sampled_from([bad, {"state_dict": bad}, {**weights(), "x": bad}, [bad]]))
    whole = st.tuples(wrapped, st.integers(0, 4)).map(lambda given: pickle.dumps(given[0], given[1]))
    return st.one_of(whole, st.sampled_from(range(5)).flatmap(lambda p: damaged(pickle.dumps(weights(), p))))


def a_pickle(scene: Scene, folder: Path, content: bytes) -> None:
    source, target = folder / "hostile.pkl", folder / "converted.safetensors"
    source.write_bytes(content)
    status, errors = call("convert", source, target, "--config", "smoke")
    require_answer(status, errors, "hostile.pkl", many=True)
    require_nothing_run(folder)
    if status == 0 or target.exists():
        raise Broken("a model was made of it")


def drawn(strategy: st.SearchStrategy, check: Callable[[bytes], None], count: int) -> Figures:
    """Check so many draws. Raises Broken with the smallest input that breaks the promise."""
    seen = 0

    @settings(
        max_examples=count, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(strategy)
    def each(content: bytes) -> None:
        nonlocal seen
        seen += 1
        try:
            check(content)
        except Broken as fault:
            raise Broken(f"{fault} (input {content[:200]!r})") from fault.__cause__

    each()
    return {"inputs": seen}


def kinds(folder: Path) -> dict[str, tuple[st.SearchStrategy, Callable]]:
    from ldm_jittor import checkpoint

    path = folder / "whole.safetensors"
    checkpoint.save(path, weights(), {"config": {}})
    return {
        "names": (names.filter(usable), a_name),
        "JSON": (json_files, a_json),
        "YAML": (yaml_files, a_yaml),
        "EXIF": (metadata, an_exif),
        "safetensors": (damaged(path.read_bytes()), a_safetensors),
        "pickles": (hostile_pickles(), a_pickle),
    }


def main() -> int:
    arguments = parser(__doc__).parse_args()
    scene, folder = make_scene(arguments.folder), arguments.folder / "hostile"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    jittor_side.start("cpu")
    count = SHORT if arguments.short else LONG
    cases = {
        f"{count} {kind}": partial(drawn, strategy, partial(check, scene, folder), count)
        for kind, (strategy, check) in kinds(folder).items()
    }
    return Record(arguments.folder, "hostile").go_through(cases)


if __name__ == "__main__":
    sys.exit(main())
