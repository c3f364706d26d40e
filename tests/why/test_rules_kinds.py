"""Kinds of training code open whole: each number torch left is the sum of its rule's terms."""

import numpy as np
import pytest
import torch

from benchmarks.why_kinds import KINDS
from benchmarks.why_kinds.survey import examine

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


@pytest.mark.parametrize("family", PLAIN)
@pytest.mark.filterwarnings("ignore")
def test_an_error_of_one_percent_would_be_seen(family):
    limits: dict[str, list[float]] = {}
    for make in KINDS[family].values():
        found = examine(make, torch.float32, numbers=200)
        assert found is not None
        for operation, some in found.limits.items():
            if operation.endswith("float32"):
                limits.setdefault(operation, []).extend(some)
    blind = {op: np.median(some) for op, some in limits.items() if some and np.median(some) > 1e-2}
    assert not blind
