"""The cause is found in what Jittor writes around it."""

import pytest

from jiidm.system.jittor_errors import LONGEST, reason

RUN = (
    "\x1b[38;5;1m[f 1127 08:24:10.952269 80 executor.cc:686] \nExecute fused operator(3/4) failed. \n[OP TYPE]: code \n"
    "[Reason]: \x1b[38;5;1m[f 1127 08:24:10.952141 80 x_op.cc:110] cudnn error 8\x1b[m\x1b[m\n**********\n"
    "Async error was detected. Please rerun your code:\n>>> export JT_SYNC=1\n>>> export trace_py_var=3\n"
)
COMPILED = (
    "Wrong inputs arguments\n\nFailed reason:\x1b[38;5;1m[f 1127 08:24:12.09 80 parallel_compiler.cc:331] Error:\n"
    "Compile operator(0/1)failed\n\nReason: \x1b[38;5;1m[f 1127 80 log.cc:608] Run cmd failed: nvcc " + "-I/a " * 500
)


@pytest.mark.parametrize(
    "error, told",
    [
        (RuntimeError(RUN), "cudnn error 8"),
        (RuntimeError(COMPILED), ("Run cmd failed: nvcc " + "-I/a " * 500)[:LONGEST]),
        ("Traceback\n  File x\nOSError: libcudart.so: cannot open\n", "OSError: libcudart.so: cannot open"),
        (KeyError(), "KeyError"),
    ],
)
def test_the_innermost_cause_is_told_in_one_line(error, told):
    assert reason(error) == told
