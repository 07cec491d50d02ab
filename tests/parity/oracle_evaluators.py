"""Run pytorch-fid, torch-fidelity, clean-fid's resizing and a PyTorch NIMA: python oracle_evaluators.py IN.npz OUT.npz.

In: `inception/<name>` and `nima/<name>`, weights; `small`, `large`, `crops`, uint8 images [N,H,W,3], the last of
224x224; `features/a`, `features/b` [N,D]; `equal/a`, `equal/b`, as many of each; `cloud/a`, `cloud/b`, in few
dimensions. Out: `features/small`, `features/large` and, by clean-fid's input, `clean/large` [N,2048]; `resized/small`
and `resized/large` [N,299,299,3]; `ratings` [N,10]; `distance` of the features; `kid` of the equal ones; `precision`
and `recall` of the clouds, a generated, b real.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from oracle_inputs import weights
from torch_vgg import vgg_features

sys.path.append(str(Path(sys.prefix, "fid")))

import pytorch_fid.inception  # noqa: E402
from cleanfid.resize import build_resizer  # noqa: E402
from pytorch_fid.fid_score import calculate_frechet_distance  # noqa: E402
from torch_fidelity.metric_kid import kernel_mmd  # noqa: E402
from torch_fidelity.metric_prc import calculate_precision_recall_full  # noqa: E402


def main(source: str, target: str) -> None:
    with np.load(source) as file:
        inputs = dict(file)
    distance = calculate_frechet_distance(*statistics(inputs["features/a"]), *statistics(inputs["features/b"]))
    with torch.no_grad():
        network = fid_network(weights(inputs, "inception/"))
        features = {
            f"features/{size}": network(to_tensor(inputs[size]))[0].squeeze(3).squeeze(2) for size in ("small", "large")
        }
        resized = {f"resized/{size}": clean(inputs[size]) for size in ("small", "large")}
        features["clean/large"] = of_clean(network, resized["resized/large"])
        ratings = nima(weights(inputs, "nima/"))(to_tensor(inputs["crops"]))
    kid = kernel_mmd(inputs["equal/a"], inputs["equal/b"])
    generated, real = (torch.from_numpy(inputs[f"cloud/{name}"]) for name in ("a", "b"))
    precision, recall = calculate_precision_recall_full(generated, real)
    scores = dict(distance=distance, kid=kid, precision=precision, recall=recall)
    np.savez(target, ratings=ratings.numpy(), **scores, **resized, **{k: v.numpy() for k, v in features.items()})


def clean(images: np.ndarray) -> np.ndarray:
    """As clean-fid hands them to its network, [N,299,299,3] of 0 to 255."""
    return np.stack([build_resizer("clean")(image) for image in images])


def of_clean(network: torch.nn.Module, resized: np.ndarray) -> torch.Tensor:
    """pytorch-fid's network on clean-fid's input, (x - 128) / 128, past its own resizing and scaling."""
    network.resize_input = network.normalize_input = False
    x = (torch.from_numpy(resized.transpose(0, 3, 1, 2).copy()) - 128) / 128
    return network(x)[0].squeeze(3).squeeze(2)


def fid_network(state: dict[str, torch.Tensor]) -> torch.nn.Module:
    """pytorch-fid's own network, its download replaced."""
    pytorch_fid.inception.load_state_dict_from_url = lambda *_, **__: state
    return pytorch_fid.inception.InceptionV3().eval()


def nima(state: dict[str, torch.Tensor]) -> torch.nn.Module:
    model = torch.nn.Module()
    model.features = vgg_features("vgg16")
    model.classifier = torch.nn.Sequential(torch.nn.Dropout(0.75), torch.nn.Linear(25088, 10), torch.nn.Softmax(dim=1))
    model.load_state_dict(state, strict=True)
    model.eval()
    return torch.nn.Sequential(model.features, torch.nn.Flatten(), model.classifier)


def statistics(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return features.mean(axis=0), np.cov(features, rowvar=False)


def to_tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).float() / 255


if __name__ == "__main__":
    main(*sys.argv[1:])
