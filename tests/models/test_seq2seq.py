"""The encoder–decoder against torch.nn.Transformer with the same weights, and as a stream."""

import pytest
import torch
from torch import nn

from whence.errors import WhenceError
from whence.models.seq2seq.config import ClassifierConfig, EncoderConfig, Seq2SeqConfig
from whence.models.seq2seq.encoder import Classifier, Encoder
from whence.models.seq2seq.model import Seq2Seq

D, H, L = 16, 4, 2


def torchs(norm_first: bool) -> nn.Transformer:
    options = {"dropout": 0.0, "batch_first": True, "norm_first": norm_first}
    end = [nn.LayerNorm(D), nn.LayerNorm(D)] if norm_first else [None, None]
    with_options = (D, H, 4 * D)
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(*with_options, **options), L, end[0], enable_nested_tensor=False
    )
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(*with_options, **options), L, end[1])
    return nn.Transformer(
        D, H, custom_encoder=encoder, custom_decoder=decoder, batch_first=True
    ).double()


def copy_attention(ours, theirs):
    theirs.in_proj_weight.copy_(torch.cat([ours.q.weight, ours.k.weight, ours.v.weight]))
    theirs.in_proj_bias.copy_(torch.cat([ours.q.bias, ours.k.bias, ours.v.bias]))
    theirs.out_proj.load_state_dict(ours.o.state_dict())


@torch.no_grad()
def copy(ours: Seq2Seq, theirs: nn.Transformer):
    for block, layer in zip(ours.encoder.blocks, theirs.encoder.layers, strict=True):
        copy_attention(block.attn.part, layer.self_attn)
        layer.linear1.load_state_dict(block.mlp.part.up.state_dict())
        layer.linear2.load_state_dict(block.mlp.part.down.state_dict())
        layer.norm1.load_state_dict(block.attn.norm.state_dict())
        layer.norm2.load_state_dict(block.mlp.norm.state_dict())
    if ours.config.norm_first:
        theirs.encoder.norm.load_state_dict(ours.encoder.norm.state_dict())
        theirs.decoder.norm.load_state_dict(ours.norm.state_dict())
    for block, layer in zip(ours.blocks, theirs.decoder.layers, strict=True):
        copy_attention(block.attn.part, layer.self_attn)
        copy_attention(block.cross.part, layer.multihead_attn)
        layer.linear1.load_state_dict(block.mlp.part.up.state_dict())
        layer.linear2.load_state_dict(block.mlp.part.down.state_dict())
        for norm, part in (("norm1", "attn"), ("norm2", "cross"), ("norm3", "mlp")):
            getattr(layer, norm).load_state_dict(getattr(block, part).norm.state_dict())


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("form", ["formula", "fast"])
def test_equals_torch_nn_transformer(norm_first, form):
    torch.manual_seed(0)
    config = Seq2SeqConfig(
        n_layers=L, n_heads=H, d_model=D, dropout=0.0, norm_first=norm_first, attention=form
    )
    ours = Seq2Seq(config, 11).double()
    for p in ours.parameters():  # biases and gains that would show if they were left out
        nn.init.normal_(p, std=0.3)
    theirs = torchs(norm_first)
    copy(ours, theirs)
    source, target = torch.randint(2, 11, (3, 7)), torch.randint(2, 11, (3, 5))
    visible = torch.arange(7) < torch.tensor([[7], [4], [1]])
    embedded = [ours.positions(D**0.5 * ours.encoder.embed(t)).detach() for t in (source, target)]
    expected = theirs(
        *embedded,
        tgt_mask=torch.ones(5, 5, dtype=torch.bool).triu(1),
        src_key_padding_mask=~visible,
        memory_key_padding_mask=~visible,
    )
    found = ours.decode(target, ours.encode(source, visible), visible)
    torch.testing.assert_close(found, expected @ ours.head.weight.T)


def small() -> Seq2Seq:
    torch.manual_seed(1)
    config = Seq2SeqConfig(n_layers=1, n_heads=2, d_model=8, dropout=0.0, context_length=16)
    return Seq2Seq(config, 9).double()


def test_a_stream_gives_the_logits_of_its_two_parts():
    model = small()
    rows = torch.tensor([[5, 6, 7, 8, 0, 4, 3], [5, 6, 0, 2, 3, 4, 1], [0, 4, 4, 4, 4, 4, 4]])
    found = model(rows)
    for row, cut in ((0, 4), (1, 2)):
        source, target = rows[row : row + 1, :cut], rows[row : row + 1, cut:]
        expected = model.decode(target, model.encode(source))
        torch.testing.assert_close(found[row, cut:], expected[0], check_dtype=False)
        assert found[row, :cut].abs().max() == 0


def test_after_a_source_alone_comes_a_tab():
    logits = small()(torch.tensor([[5, 6, 7]]))
    assert logits[0, -1].argmax() == 0


def test_a_target_that_fills_the_window_ends():
    rows = torch.tensor([[5, 0, *[4] * 30]])
    logits = small()(rows)
    assert logits[0, 1 + 16 :].argmax(-1).eq(1).all()
    torch.testing.assert_close(logits[:, :12], small()(rows[:, :12]))


def test_padding_of_the_source_is_not_read():
    model = small()
    visible = torch.tensor([[True, True, False]])
    found = [model.encode(torch.tensor([[5, 6, x]]), visible)[0, :2] for x in (7, 8)]
    torch.testing.assert_close(*found)


def test_encoder_reads_both_ways_and_classifies():
    torch.manual_seed(0)
    config = EncoderConfig(n_layers=1, n_heads=2, d_model=8, dropout=0.0)
    encoder = Encoder(config, 9)
    a, b = encoder(torch.tensor([[5, 6, 7]])), encoder(torch.tensor([[5, 6, 8]]))
    assert (a[0, 0] != b[0, 0]).any()
    config = ClassifierConfig(**vars(config), classes=("a", "b", "c"))
    classifier = Classifier(config, 9)
    nn.init.normal_(classifier.head.weight)
    tokens = torch.tensor([[5, 6, 7, 1, 1]])
    visible = tokens != 1
    torch.testing.assert_close(classifier(tokens, visible), classifier(tokens[:, :3]))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Seq2SeqConfig(label_smoothing=1.0), "label_smoothing is 1.0"),
        (lambda: EncoderConfig(d_model=30), "divide evenly"),
        (lambda: small().encode(torch.zeros(1, 17, dtype=torch.long)), "17 tokens long"),
    ],
)
def test_impossible_sizes_are_told_in_a_sentence(make, words):
    with pytest.raises(WhenceError, match=words):
        make()
