"""Prints the table of all comparisons when the parity tests are done."""

from __future__ import annotations

from jiidm.report.tables import table


def pytest_terminal_summary(terminalreporter) -> None:
    from oracle import COMPARISONS

    if COMPARISONS:
        terminalreporter.section("parity")
        terminalreporter.write_line(table(COMPARISONS, ("quantity", "oracle", "largest relative difference")))
