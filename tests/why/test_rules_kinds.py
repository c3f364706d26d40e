"""Kinds of training code open whole: each number torch left is the sum of its rule's terms."""

import numpy as np
import pytest
import torch

from benchmarks.why_kinds import KINDS
from benchmarks.why_kinds.survey import examine, runs
from whence.why import trace
from whence.why.recording.tape import Call
from whence.why.rules.open import open_call
from whence.why.rules.opening import bound, difference
from whence.why.rules.table import RULES

# What the models of another library add to the operations below is little, and takes a minute.
SMALL = [(f, name) for f, kinds in KINDS.items() if f != "transformers" for name in kinds]
NOT_FINITE = {"nan_to_num", "logdet"}


@pytest.mark.parametrize(("family", "name"), SMALL, ids=[name for _, name in SMALL])
@pytest.mark.filterwarnings("ignore")
def test_a_kind_opens_whole(family, name):
    found = examine(KINDS[family][name], torch.float32, numbers=300)
    assert found is not None
    assert not found.error
    assert not found.closed
    assert not found.refused
    if name not in NOT_FINITE:
        assert not found.wrong
    assert found.numbers


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS["transformers"])
@pytest.mark.filterwarnings("ignore")
def test_a_model_of_transformers_opens_whole(name):
    found = examine(KINDS["transformers"][name], torch.float32, numbers=1_000)
    assert found is not None
    assert not found.error
    assert not found.closed
    assert not found.refused
    # A masked score of −3.4e38 and another one overflow float32: −∞ is what the kernel must give.
    assert not [address for _, address in found.wrong if "-inf" not in address]


PLAIN = [
    "convolution, pooling, norms",
    "padding and resizing",
    "losses",
    "activations",
    "functions",
]


# Kernels that round to bfloat16 on the way to a number too, or store a norm's mean and scale in it:
# half a unit is 0.4 %, so behind two or three roundings an error of 1 % may hide.
SEVERAL = {
    "_adaptive_avg_pool2d", "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d",
    "_adaptive_avg_pool3d_backward", "_log_softmax", "_upsample_nearest_exact1d_backward",
    "_upsample_nearest_exact2d_backward", "_upsample_nearest_exact3d_backward",
    "_weight_norm_interface", "_weight_norm_interface_backward", "affine_grid_generator",
    "avg_pool2d", "binary_cross_entropy_with_logits", "col2im", "dist", "grid_sampler_2d",
    "grid_sampler_2d_backward", "grid_sampler_3d", "grid_sampler_3d_backward",
    "huber_loss_backward", "index_add", "ldexp", "linalg_cross", "logit", "logit_backward",
    "logsumexp", "mse_loss_backward", "mvlgamma", "native_batch_norm",
    "native_batch_norm_backward", "native_group_norm", "native_group_norm_backward",
    "native_layer_norm", "native_layer_norm_backward", "nll_loss_forward", "polygamma", "prod",
    "reflection_pad1d_backward", "reflection_pad2d_backward", "reflection_pad3d_backward",
    "renorm", "replication_pad1d_backward", "replication_pad2d_backward",
    "replication_pad3d_backward", "round", "scatter_add", "smooth_l1_loss_backward",
    "soft_margin_loss_backward", "special_entr", "special_i0e", "special_xlog1py",
    "upsample_bicubic2d", "upsample_bicubic2d_backward", "upsample_bilinear2d",
    "upsample_bilinear2d_backward", "upsample_linear1d_backward", "upsample_nearest1d_backward",
    "upsample_nearest2d_backward", "upsample_nearest3d_backward", "upsample_trilinear3d",
    "upsample_trilinear3d_backward", "xlogy",
}  # fmt: skip


def seen(call: Call, at: np.ndarray, error: float) -> np.ndarray:
    """Whether an error made up in each of some stored numbers is more than rounding allows."""
    opened = open_call(call, at)
    assert opened is not None
    made_up = call.output.gather(at) * (1 + error)
    total, size, count = opened.total(len(at))
    dtype = call.output.dtype
    apart = np.abs(difference(made_up, total, size, dtype))
    return (apart > bound(opened, dtype, total, size, count))[made_up != 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("family", PLAIN)
@pytest.mark.filterwarnings("ignore")
def test_an_error_of_one_percent_is_seen(family, dtype, request):
    found: dict[str, list[bool]] = {}
    random = np.random.default_rng(0)
    request.addfinalizer(lambda: torch.set_default_dtype(torch.float32))
    torch.set_default_dtype(dtype)
    for make in KINDS[family].values():
        if not runs(make):
            continue
        torch.manual_seed(0)
        step = make()
        step()
        t = trace(step)
        for op in t.ops:
            calls = [
                op.call(i) for i, out in enumerate(op.outputs) if out is not None and out.numel
            ]
            for call in calls if not op.alias else ():
                if call.name in RULES and call.output.dtype == dtype:
                    at = random.permutation(call.output.numel)[:8]
                    found.setdefault(call.name, []).extend(seen(call, at, 0.01))
    blind = {name for name, some in found.items() if some and np.mean(some) < 0.5}
    assert len(found) > 10
    assert blind <= (SEVERAL if dtype == torch.bfloat16 else set())


def test_half_a_unit_is_all_that_bfloat16_can_tell():
    """One rounding: an error of 0.4 % hides in it, one of 1 % doesn't; in float32 1e-6 shows."""
    torch.manual_seed(0)
    x, y = torch.randn(300), torch.randn(300)
    for dtype, hidden, shown in (
        (torch.bfloat16, 2.0**-9, 2.0**-7),
        (torch.float32, 2.0**-25, 2.0**-20),
    ):
        a, b = x.to(dtype), y.to(dtype)
        t = trace(lambda a=a, b=b: a * b)
        (call,) = (op.call(0) for op in t.ops)
        assert torch.equal(call.output.tensor(), a * b)
        every = np.arange(300)
        assert seen(call, every, shown).all()
        assert not seen(call, every, hidden).all()
