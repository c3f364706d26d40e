"""Texts decoded side by side: each as the model alone would have it."""

import pytest
import torch

from whence.errors import WhenceError
from whence.models import GPT, GPTConfig, gpt2_config, llama_config, modern_config, qwen3_config
from whence.models.gpt.batch_decode import BatchDecoder

SIZES = {"n_layers": 2, "n_heads": 4, "d_model": 32, "context_length": 24, "zero_head": False}
FORMS = {
    "gpt2": gpt2_config(**SIZES),
    "modern": modern_config(**SIZES),
    "llama": llama_config(**SIZES, n_kv_heads=2, d_head=16),
    "qwen3": qwen3_config(**SIZES, n_kv_heads=1),
    "formula": llama_config(**SIZES, attention="formula"),
}


@pytest.mark.parametrize("name", FORMS)
@torch.inference_mode()
def test_each_text_is_read_as_if_it_were_alone(name):
    torch.manual_seed(0)
    model = GPT(FORMS[name], 37).eval()
    decoder = BatchDecoder(model, 4)
    texts = {seat: torch.randint(0, 37, (n,)).tolist() for seat, n in ((0, 3), (2, 11), (3, 1))}
    for row, text in zip(decoder.read(texts), texts.values(), strict=True):
        torch.testing.assert_close(row, model(torch.tensor([text]))[0, -1], rtol=1e-4, atol=1e-5)
    for round_ in range(12):
        if round_ == 4:  # one leaves, another takes its seat, a fourth comes
            texts[2], texts[1] = [5, 6, 7], [8]
            decoder.read({seat: texts[seat] for seat in (1, 2)})
        named = [seat for seat in texts if not (round_ % 3 == 0 and seat == 0)]
        new = {seat: int(torch.randint(0, 37, ())) for seat in named}
        for seat, token in new.items():
            texts[seat] = [*texts[seat], token]
        got = decoder.step(new)
        for row, seat in zip(got, new, strict=True):
            want = model(torch.tensor([texts[seat]]))[0, -1]
            torch.testing.assert_close(row, want, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_a_full_seat_keeps_what_it_holds():
    model = GPT(llama_config(**SIZES), 37).eval()
    decoder = BatchDecoder(model, 2, length=6)
    decoder.read({0: [1, 2, 3, 4, 5, 6], 1: [1]})
    before = decoder.room[:, :, 0].clone()
    decoder.step({1: 2})
    assert torch.equal(decoder.room[:, :, 0], before)
    with pytest.raises(WhenceError, match="full"):
        decoder.step({0: 1})
    with pytest.raises(WhenceError, match="a seat holds 6"):
        decoder.read({1: [2], 0: [1] * 7})


def test_what_can_t_be_decoded_side_by_side():
    with pytest.raises(WhenceError, match="pair table"):
        BatchDecoder(GPT(GPTConfig(bigram_embedding=True), 9), 2)
    with pytest.raises(WhenceError, match="reads 1 to 64"):
        BatchDecoder(GPT(GPTConfig(), 9), 2, length=65)
