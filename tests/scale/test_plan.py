"""The plan against what really happens."""

import pytest
import torch
from torch import nn

from whence.errors import WhenceError
from whence.models import MODELS, build
from whence.scale.plan import check_disk, check_memory, plan


@pytest.mark.parametrize("kind", ["gpt", "gpt2"])
def test_activations_are_those_that_autograd_saves(kind):
    """The oracle: the same step on real tensors."""

    def make():
        return build(MODELS[kind], 65)

    told = plan(make, (4, 64))
    model = make()
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    saved = {}
    tokens = torch.zeros(4, 64, dtype=torch.long)

    def keep(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        logits = model(tokens)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())
    real = sum(t.untyped_storage().nbytes() for k, t in saved.items() if k not in own)
    assert loss.isfinite()
    assert told.activations == pytest.approx(real + logits.nbytes, rel=0.1)
    assert told.n_parameters == sum(p.numel() for p in model.parameters())
    assert told.memory == 4 * told.weights + told.activations


def test_planning_draws_no_random_numbers():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    plan(lambda: build(MODELS["gpt"], 65), (1, 8))
    assert torch.equal(torch.get_rng_state(), before)


def test_too_much_is_refused_with_the_figures(tmp_path):
    with pytest.raises(WhenceError, match=r"needs about 1000000\.0 GB of memory and .* are free"):
        check_memory(10**15, "cpu", "lower batch_size")
    with pytest.raises(WhenceError, match=r"needs about 1000000\.0 GB of disk and .* are free"):
        check_disk(10**15, tmp_path, "remove old runs")
