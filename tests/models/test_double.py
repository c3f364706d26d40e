"""In float64 a model computes in float64 from end to end: nothing on the way is rounded to less."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from whence.models import MODELS, NGramConfig, NGramGPT, build


class Narrowing(TorchDispatchMode):
    """Writes down each operation that read float64 and gave a narrower number."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        kinds = [
            {t.dtype for t in tree_flatten(x)[0] if isinstance(t, torch.Tensor)}
            for x in ((args, kwargs), out)
        ]
        narrow = {torch.float32, torch.bfloat16, torch.float16}
        if torch.float64 in kinds[0] and narrow & kinds[1]:
            self.found.append(str(func))
        return out


@pytest.mark.parametrize("name", [n for n, c in MODELS.items() if not isinstance(c, NGramConfig)])
def test_float64_stays_float64(name):
    model = build(MODELS[name], 11)
    if isinstance(model, NGramGPT):
        model.fit(np.arange(200) % 11)
    model = model.double().eval()
    tokens = torch.tensor([[5, 6, 7, 0, 5, 6, 1], [8, 0, 5, 6, 7, 1, 1]])
    with Narrowing() as narrowing:
        logits = model(tokens)
        logits.square().sum().backward()
    assert logits.dtype == torch.float64
    assert narrowing.found == []
