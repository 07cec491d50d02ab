"""What conftest.py does to all tests: folders give their names as marks, and nothing is skipped in CI."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture
def conftest(request):
    return request.config.pluginmanager.get_plugin(str(Path(__file__).parent / "conftest.py"))


@pytest.mark.parametrize(
    ("ci", "reason", "outcome"),
    [
        ("true", "PyTorch is not set up", "failed"),
        ("true", "no CUDA compiler", "skipped"),
        ("", "PyTorch is not set up", "skipped"),
    ],
)
def test_a_skipped_test_fails_in_ci_unless_no_package_helps(conftest, monkeypatch, ci, reason, outcome):
    monkeypatch.setenv("CI", ci)
    report = SimpleNamespace(skipped=True, outcome="skipped", longrepr=("test_x.py", 3, f"Skipped: {reason}"))
    hook = conftest.pytest_runtest_makereport(SimpleNamespace(nodeid="test_x.py::test_y"), None)
    next(hook)
    with pytest.raises(StopIteration) as end:
        hook.send(report)
    assert end.value.value is report and report.outcome == outcome
    assert outcome == "skipped" or (reason in report.longrepr and "test_y" in report.longrepr)


@pytest.mark.parametrize("path, marks", [("parity/test_x.py", ["parity"]), ("jiidm/data/test_x.py", [])])
def test_a_folder_gives_its_name_as_a_mark(conftest, path, marks):
    given = []
    item = SimpleNamespace(path=Path(__file__).parent / path, add_marker=given.append)
    conftest.pytest_collection_modifyitems([item])
    assert given == marks
