"""What was generated since the server started, and the zip from which `run_infer.sh` makes it again."""

from __future__ import annotations

import io
import json
import secrets
import threading
import zipfile
from dataclasses import dataclass

import numpy as np

from jiidm.config.load import to_yaml
from jiidm.config.schema import Config
from jiidm.data.images import encode_png
from jiidm.errors import InputError

KEPT = 200
_README = """Made with the painter of jiidm. In this folder, this makes the same image:

  bash /path/to/run_infer.sh labels refs.json out --config config.yaml --seed {seed}{checkpoint}

labels/     the mask, 8-bit class ids 0-28
refs.json   which photo belongs to it
result/     the image
model       SHA-256 {model}
"""


@dataclass(frozen=True)
class Result:
    """One image and everything it was made of."""

    name: str
    mask: np.ndarray
    reference: bytes
    """The photo's file."""
    reference_suffix: str
    config: Config
    jpeg: bytes


@dataclass(frozen=True)
class ModelOrigin:
    """Which model made the images: its SHA-256, and `--checkpoint FILE` where that has to be given, else ""."""

    sha256: str
    option: str


class Results:
    """The last KEPT results, by keys that nobody can guess."""

    def __init__(self) -> None:
        self._by_key: dict[str, Result] = {}
        self._lock = threading.Lock()

    def add(self, result: Result) -> str:
        """Keep a result, and give its key."""
        key = secrets.token_urlsafe(9)
        with self._lock:
            self._by_key[key] = result
            if len(self._by_key) > KEPT:
                del self._by_key[next(iter(self._by_key))]
        return key

    def __getitem__(self, key: str) -> Result:
        try:
            return self._by_key[key]
        except KeyError:
            raise InputError("no such result; the painter keeps the last ones only") from None


def bundle(result: Result, model: ModelOrigin) -> bytes:
    """A zip of the mask, the references JSON, the photo and the config, and the image that they give."""
    photo = f"reference{result.reference_suffix}"
    checkpoint = f" {model.option}" if model.option else ""
    files: dict[str, str | bytes] = {
        f"labels/{result.name}.png": encode_png(result.mask),
        "refs.json": json.dumps({f"{result.name}.png": photo}, ensure_ascii=False, indent=1) + "\n",
        photo: result.reference,
        "config.yaml": to_yaml(result.config),
        f"result/{result.name}.jpg": result.jpeg,
        "README.txt": _README.format(seed=result.config.seed, checkpoint=checkpoint, model=model.sha256),
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()
