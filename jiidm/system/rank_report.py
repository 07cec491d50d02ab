"""Whether ranks reach each other, and what each computes on: `jiidm doctor --ranks N`."""

from __future__ import annotations

import ctypes
import socket
from collections import Counter

from jiidm.system import ranks

_BYTES = 256


def report(device: str) -> tuple[str, bool]:
    """Lines about all ranks, and whether the sum of their numbers was right on this one.

    device: "cpu" or "cuda". A GPU that several ranks share is warned of: they train no faster than one.
    """
    place = pci_id() if device == "cuda" else "-"
    lines = _gather_text(f"{socket.gethostname()}\t{device}\t{place}")
    numbers = ranks.gather(ranks.rank())
    rows = [("rank", "host", "device", "PCI id"), *((str(i), *line.split("\t")) for i, line in enumerate(lines))]
    widths = [max(map(len, column)) for column in zip(*rows)]
    told = ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths)).rstrip() for row in rows]
    shared = Counter((host, gpu) for _, host, _, gpu in rows[1:] if gpu != "-")
    for (host, gpu), count in shared.items():
        if count > 1:
            told.append(f"warning: {count} ranks of {host} share GPU {gpu}; see docs/distributed.md on NCCL")
    expected = list(range(ranks.size()))
    told.append(f"sum of their numbers over all ranks: {sum(numbers):g}, expected {sum(expected)}")
    return "\n".join(told), numbers == expected


def pci_id() -> str:
    """The place of the GPU that this process computes on, as the driver tells it."""
    driver, device, text = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(), ctypes.create_string_buffer(32)
    if driver.cuCtxGetDevice(ctypes.byref(device)) or driver.cuDeviceGetPCIBusId(text, len(text), device):
        return "unknown"
    return text.value.decode()


def _gather_text(text: str) -> list[str]:
    """The text of every rank, in their order."""
    import numpy as np

    rows = np.zeros((ranks.size(), _BYTES), np.float32)
    own = text.encode()[:_BYTES]
    rows[ranks.rank(), : len(own)] = list(own)
    return [bytes(row.astype(np.uint8)).rstrip(b"\0").decode(errors="replace") for row in ranks.total(rows)]
