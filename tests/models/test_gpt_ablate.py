import pytest
import torch

from whence.errors import WhenceError
from whence.models.gpt.ablate import without_head
from whence.models.gpt.model import GPT, gpt2


def test_a_head_is_silent_and_comes_back():
    torch.manual_seed(0)
    model = GPT(gpt2(n_layers=2, n_heads=2, d_model=8, context_length=6, d_head=3), 5)
    tokens = torch.randint(0, 5, (1, 6))
    attn, heard = model.blocks[1].attn, []
    attn.o.register_forward_hook(lambda part, inputs, out: heard.append((inputs[0], out)))
    whole = model(tokens)
    with without_head(model, 1, 0):
        silenced = model(tokens)
    assert torch.equal(model(tokens), whole)
    assert not torch.equal(silenced, whole)
    head = heard[1][0][..., :3] @ attn.o.weight[:, :3].T
    torch.testing.assert_close(heard[1][1], heard[0][1] - head)
    for layer, n in ((2, 0), (0, 2), (-1, 0)):
        with pytest.raises(WhenceError, match="no head"), without_head(model, layer, n):
            pass
    model = GPT(gpt2(without=("attention",)), 5)
    with pytest.raises(WhenceError, match="without attention"), without_head(model, 0, 0):
        pass
