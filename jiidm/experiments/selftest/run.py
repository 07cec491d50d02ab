"""All checks, one after the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from tqdm import tqdm

from jiidm.experiments.selftest.checks import EXACT, Row
from jiidm.experiments.selftest.networks import NETWORKS, check_network
from jiidm.experiments.selftest.operators import check_operator, check_optimizer, operators
from jiidm.system.jittor_errors import reason


def run() -> list[Row]:
    """The checks' findings on the device in use."""
    checks: list[tuple[str, Callable[[], Row]]] = [(each.name, partial(check_operator, each)) for each in operators()]
    checks += [(network.__name__.replace("_", " "), partial(check_network, network)) for network in NETWORKS]
    checks.append(("AdamW step", check_optimizer))
    return [finding(*each) for each in tqdm(checks, desc="self-test", unit="check", leave=False)]


def finding(name: str, check: Callable[[], Row]) -> Row:
    """What a check finds. An operator that the device can't compile or run is a finding too."""
    try:
        return check()
    except Exception as error:
        return Row(name, EXACT, math.inf, None, failure=reason(error))
