import pytest
import torch

from whence.errors import WhenceError
from whence.models import GPT, Classifier, ClassifierConfig, Seq2Seq, Seq2SeqConfig, gpt2_config
from whence.models.silence import heads_of, parts_of, silenced


def test_a_head_is_silent_and_comes_back():
    torch.manual_seed(0)
    model = GPT(gpt2_config(n_layers=2, n_heads=2, d_model=8, context_length=6, d_head=3), 5)
    tokens = torch.randint(0, 5, (1, 6))
    attn, heard = model.blocks[1].attn, []
    attn.register_forward_hook(lambda part, inputs, out: heard.append(out))
    entered = []
    attn.o.register_forward_pre_hook(lambda part, inputs: entered.append(inputs[0]))
    whole = model(tokens)
    with silenced(model, heads=[("blocks.1.attn", 0)]):
        without = model(tokens)
    assert torch.equal(model(tokens), whole)
    assert not torch.equal(without, whole)
    head = entered[0][..., :3] @ attn.o.weight[:, :3].T
    torch.testing.assert_close(heard[1], heard[0] - head)
    for name, n in (("blocks.2.attn", 0), ("blocks.1.attn", 2), ("blocks.1.attn", -1)):
        with pytest.raises(WhenceError, match="no head"), silenced(model, heads=[(name, n)]):
            pass
    with pytest.raises(WhenceError, match="no part"), silenced(model, ["blocks.1.nose"]):
        pass


def test_without_all_heads_attention_is_its_bias():
    torch.manual_seed(0)
    model = GPT(gpt2_config(n_layers=1, n_heads=2, d_model=8, context_length=6), 5).eval()
    tokens = torch.randint(0, 5, (1, 6))
    with torch.no_grad():
        attn = model.blocks[0].attn
        attn.o.bias.normal_()
        with silenced(model, heads=heads_of(model)):
            heads_gone = model(tokens)
        attn.o.weight.zero_()
        torch.testing.assert_close(heads_gone, model(tokens))
        with silenced(model, ["blocks.0.attn"]):
            part_gone = model(tokens)
        attn.o.bias.zero_()
        torch.testing.assert_close(part_gone, model(tokens))


def test_parts_of_each_kind_of_transformer():
    encoder = Classifier(ClassifierConfig(n_layers=1, n_heads=2, classes=("a", "b")), 9)
    assert parts_of(encoder) == ["encoder.blocks.0.attn.part", "encoder.blocks.0.mlp.part"]
    pairs = Seq2Seq(Seq2SeqConfig(n_layers=1, n_heads=2), 9)
    assert len(heads_of(pairs)) == 3 * 2  # in the encoder, in the decoder, across
    assert parts_of(torch.nn.Linear(2, 2)) == []
