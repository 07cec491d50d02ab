"""No network scores a table that taught one of its methods, or chose among its checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jiidm.data.identity import same_weights
from jiidm.errors import InputError
from jiidm.evaluate import segmenter
from jiidm.evaluate.score import Evaluators
from jiidm.model.files import ModelFile, sha256
from jiidm.train.networks import Used

DID = {"perceptual": "taught it as the perceptual loss", "validation": "chose among its checkpoints"}


def refuse_partial(models: Sequence[ModelFile], evaluators: Evaluators) -> None:
    """Raises InputError for the first model that one of the evaluators took part in, as its provenance tells."""
    scorers = {"M": evaluators.segmenter, evaluators.fd_name: evaluators.fd_network, "A": evaluators.aesthetic}
    for model in models:
        for used in networks_of(model) or ():
            for score, network in scorers.items():
                if network is not None and same_weights(used.sha256) == same_weights(network.sha256):
                    did = DID.get(used.use, f"took part in its training ({used.use})")
                    told = f"{model.path}: the network that gives {score}, {network.name}, {did}"
                    raise InputError(f"{told}; score with one that took no part (--segmenter, --inception)")


def networks_of(model: ModelFile) -> list[Used] | None:
    """The networks that took part in a model's training, beside its own. None where the file does not tell.

    Models of before there was a list tell of fd_seg in `average_of`: the shipped segmenter gave that.
    """
    provenance = model.metadata.get("provenance", {})
    if "networks" in provenance:
        return _listed(model, provenance["networks"])
    if any("fd_seg" in part for part in provenance.get("average_of", [])):
        return [Used("validation", f"segmenter ({segmenter.SHIPPED.name})", sha256(segmenter.SHIPPED))]
    return None


def _listed(model: ModelFile, entries: Iterable[dict[str, str]]) -> list[Used]:
    try:
        return [Used(**entry) for entry in entries]
    except TypeError:
        raise InputError(f"{model.path}: provenance.networks is not a list of networks") from None
