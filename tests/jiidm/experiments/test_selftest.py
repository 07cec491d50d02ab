"""The self-test finds what is wrong: each check passes here, and fails where its operator or network is spoiled."""

import jittor as jt
import numpy as np
import pytest
from scipy.signal import correlate2d
from scipy.special import expit, softmax

from jiidm.cli.main import main
from jiidm.experiments.selftest import checks, formulas, networks, operators, run
from ldm_jittor import layers, ops

OPERATORS = {operator.name: operator for operator in operators.operators()}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_pass_here_and_a_spoiled_one_fails(name):
    operator = OPERATORS[name]
    row = operators.check_operator(operator)
    assert row.passes("cpu"), row

    def spoiled(*inputs):
        return operator.ours(*inputs) + 1e-3 * jt.sin(3 * inputs[0]).sum()  # the same number everywhere

    row = operators.check_operator(operator._replace(ours=spoiled))
    assert not row.passes("cpu")


def test_a_wrong_gradient_and_a_nan_fail():
    class Half(jt.Function):
        def execute(self, x):
            return x * 2.0

        def grad(self, grad_y):
            return grad_y * 1.98

    row = operators.check_operator(OPERATORS["upsampling"]._replace(ours=Half(), formula=lambda x: 2 * x))
    assert 1e-3 < row.difference < 0.1 and not row.passes("cpu")
    nan = OPERATORS["halving"]._replace(ours=lambda x: layers.downsample_average(x) * float("nan"))
    row = operators.check_operator(nan)
    assert not row.passes("cpu") and not row.passes("cuda")


def test_formulas_equal_scipys():
    rng = np.random.default_rng(0)
    x, weight, bias = rng.normal(size=(1, 3, 9, 8)), rng.normal(size=(4, 3, 3, 3)), rng.normal(size=4)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))[0]
    maps = [sum(correlate2d(p, k, "valid") for p, k in zip(padded, kernel)) for kernel in weight]
    expected = np.array(maps)[:, ::2, ::2] + bias[:, None, None]
    np.testing.assert_allclose(formulas.convolve(x, weight, bias, 2, 1)[0], expected)
    np.testing.assert_allclose(formulas.silu(x), x * expit(x))
    q, k, v = rng.normal(size=(3, 2, 4, 5))
    weights = softmax(q.transpose(0, 2, 1) @ k / 2, axis=-1)
    np.testing.assert_allclose(formulas.attend(q, k, v), np.einsum("nqk,nck->ncq", weights, v))


@pytest.mark.parametrize("modulated, nulls", [(False, False), (True, False), (True, True)])
def test_the_plain_group_norm_is_the_cores(modulated, nulls):
    rng = np.random.default_rng(1)
    of_mask = (2 if nulls else 3, 8, 5, 6) if modulated else (8,)
    shapes = [(3, 8, 5, 6), of_mask, of_mask, (1, 16)] + [(1, 8, 3, 3)] * 2 * nulls
    x, gamma, beta, affine, *null = (jt.array(rng.normal(size=shape).astype(np.float32)) for shape in shapes)
    ours, plain = (
        norm(x, 4, gamma, beta, affine, null or None, silu=True).numpy()
        for norm in (ops.group_norm, networks._plain_group_norm)
    )
    np.testing.assert_allclose(plain, ours, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel, build", [("attention", networks.encode), ("self_attention", networks.unet_step)])
def test_a_spoiled_kernel_fails_the_networks(kernel, build, monkeypatch):
    row = networks.check_network(build)
    assert row.passes("cpu") and row.name == build.__name__.replace("_", " ")
    true = getattr(ops, kernel)
    monkeypatch.setattr(ops, kernel, lambda *tokens: true(*tokens) * 1.1)
    row = networks.check_network(build)
    assert not row.passes("cpu")
    assert getattr(ops, kernel) is not true and getattr(ops, kernel).__name__ == "<lambda>"  # and it is put back


def test_the_optimizers_first_step():
    row = operators.check_optimizer()
    assert row.passes("cpu")


@pytest.mark.parametrize("difference, status", [(1e-7, 0), (0.5, 1), (float("inf"), 1)])
def test_the_table_and_the_exit_status_tell(monkeypatch, capsys, difference, status):
    row = checks.Row("convolution 3x3", checks.PRODUCTS, difference, 1.5)
    monkeypatch.setattr(run, "run", lambda: [row])
    assert main(["doctor", "--selftest", "--device", "cpu"]) == status
    out = capsys.readouterr().out
    assert ("WRONG" in out) == bool(status) and "convolution 3x3" in out
    assert f"{1 - status} of 1 checks passed" in out


def test_an_operator_that_does_not_run_is_told_in_one_line_and_the_others_go_on(monkeypatch, capsys):
    def broken(x):
        return jt.code(x.shape, x.dtype, [x], cpu_src='LOGf << "no kernel image";')

    spoiled = [OPERATORS["halving"]._replace(ours=broken), OPERATORS["halving"]]
    monkeypatch.setattr(run, "operators", lambda: spoiled)
    monkeypatch.setattr(run, "NETWORKS", ())
    assert main(["doctor", "--selftest", "--device", "cpu"]) == 1
    out = capsys.readouterr().out
    assert "FAILED" in out and "WRONG" not in out and "halving does not run: no kernel image\n" in out
    assert "2 of 3 checks passed; wrong: halving\n" in out


def test_a_device_on_which_jittor_does_not_start_is_told_in_one_line(monkeypatch, refusal):
    def fail(device):
        raise RuntimeError(
            "[f 1 x.cc:3] Failed.\n[Reason]: [f 1 y.cc:4] cudaErrorInsufficientDriver\n>>> export JT_SYNC=1"
        )

    monkeypatch.setattr("jiidm.system.runtime.use_device", fail)
    told = refusal(["doctor", "--selftest", "--device", "cpu"])
    assert "cudaErrorInsufficientDriver; jiidm doctor" in told and "JT_SYNC" not in told


def test_tf32_is_told_for_small_differences_only():
    def rounded(difference):
        return checks.rounds_products([checks.Row("convolution 3x3", checks.PRODUCTS, difference, 1.5)], "cuda")

    assert [rounded(1e-7), rounded(1e-3), rounded(0.5)] == [False, True, False]


def test_a_device_without_the_selftest_is_refused(refusal):
    assert "--device cpu" in refusal(["doctor", "--device", "cpu"])
