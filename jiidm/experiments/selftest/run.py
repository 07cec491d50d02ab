"""All checks, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tqdm import tqdm

from jiidm.experiments.selftest.checks import Row
from jiidm.experiments.selftest.networks import NETWORKS, check_network
from jiidm.experiments.selftest.operators import check_operator, check_optimizer, operators


def run() -> list[Row]:
    """The checks' findings on the device in use."""
    checks: list[Callable[[], Row]] = [partial(check_operator, operator) for operator in operators()]
    checks += [partial(check_network, network) for network in NETWORKS]
    return [check() for check in tqdm([*checks, check_optimizer], desc="self-test", unit="check", leave=False)]
