"""How a GGUF file says that rotary positions are scaled: by values, and Llama 3's by a tensor."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from whence.errors import WhenceError
from whence.interop.gguf.file import GGUFFile
from whence.interop.layouts import Layout
from whence.interop.reading import Fields, short
from whence.interop.rope import check_yarn_base, yarn_length
from whence.models import GPTConfig
from whence.models.layers.positions import divisors
from whence.models.layers.rope_scaling import RopeScaling

FREQUENCIES = "rope_freqs.weight"  # what rotary speeds are divided by
QUICK, SLOW = 32.0, 1.0  # turns between which YaRN goes from one to the other, in llama.cpp
# What only other layouts have, with what it is where it changes nothing.
ELSEWHERE = {
    "yarn_ext_factor": (1.0, -1.0),
    "yarn_attn_factor": (1.0,),
    "yarn_log_multiplier": (0.0,),
}


def read_scaling(fields: Fields, file: GGUFFile, arch: str, d: int, base: float) -> RopeScaling:
    """Return how a file's rotary positions are scaled.

    Args:
        fields: the file's values.
        file: the file.
        arch: what its values' names begin with.
        d: length of a head's vectors.
        base: of the rotary positions.

    Raises:
        WhenceError: in a way that this GPT doesn't know.
    """
    prefix = f"{arch}.rope.scaling."
    # As in llama.cpp: a factor without a kind is linear, and it once had another name.
    factor = fields.number(prefix + "factor", fields.number(f"{arch}.rope.scale_linear", 1.0))
    kind = fields.text(prefix + "type", "linear" if factor not in (0, 1) else "none")
    if kind not in ("none", "linear", "yarn"):
        raise WhenceError(f"{fields.where} scales its rotary positions by {short(kind)}: linear, "
                          "YaRN and Llama 3's can be read.")  # fmt: skip
    if FREQUENCIES in file.shapes:
        if kind != "none":
            raise WhenceError(f"{fields.where} scales its rotary positions twice: by {kind}, and "
                              f"by {FREQUENCIES}.")  # fmt: skip
        return _llama3(fields, file.load(FREQUENCIES).double(), d, base)
    if kind == "none" or (kind == "linear" and factor in (0, 1)):
        return RopeScaling()
    if kind == "linear":
        return RopeScaling("linear", shortest(factor))
    check_yarn_base(base, fields.where)
    for name, neutral in ELSEWHERE.items():
        if fields.number(prefix + name, neutral[0]) not in neutral:
            raise WhenceError(f"{fields.where} sets {prefix}{name}, which this GPT doesn't have.")
    context = fields.count(f"{arch}.context_length")
    factor = shortest(factor)
    return RopeScaling(
        "yarn",
        factor,
        low_freq_factor=shortest(fields.number(prefix + "yarn_beta_slow", SLOW)),
        high_freq_factor=shortest(fields.number(prefix + "yarn_beta_fast", QUICK)),
        original_context_length=fields.count(prefix + "original_context_length", context),
        attention_factor=_times_usual(fields.number(prefix + "attn_factor", 1.0), factor),
    )


def _llama3(fields: Fields, found: Tensor, d: int, base: float) -> RopeScaling:
    """The file has the outcome alone: which window was it made for? The other factors are set."""
    factor = shortest(found.max().item())
    for power in range(9, 18):
        guess = RopeScaling("llama3", factor, 1.0, 4.0, 2**power)
        made = divisors(d, base, guess).double()
        if made.shape == found.shape and torch.allclose(made, found, rtol=1e-4):
            return guess
    raise WhenceError(f"{fields.where} scales its rotary positions in a way that isn't Llama 3's.")


def _times_usual(share: float, factor: float) -> float:
    """YaRN's attention factor; llama.cpp has it as a share of the usual one, in float32.

    Of all factors that have this share, the one of the fewest digits is taken: it was written.
    """
    usual = yarn_length(factor, 1.0)
    if share == 1:
        return usual
    guesses = (float(f"{share * usual:.{digits}g}") for digits in range(1, 17))
    same = (g for g in guesses if np.float32(g / usual) == np.float32(share))
    return next(same, share * usual)


def check_scaling(scaling: RopeScaling, layout: Layout) -> None:
    """Refuse a scaling that llama.cpp doesn't compute.

    Raises:
        WhenceError: saying so.
    """
    if scaling.kind == "llama3" and layout not in ("llama", "arcee"):
        raise WhenceError(
            f"llama.cpp has Llama 3's scaling of rotary positions in its own layout, and this one "
            f"is {layout}: export it with --to hf."
        )
    turns = scaling.low_freq_factor, scaling.high_freq_factor
    if scaling.kind == "yarn" and turns != (SLOW, QUICK):
        raise WhenceError(
            f"llama.cpp computes YaRN between {SLOW:g} and {QUICK:g} turns, and this model has "
            f"{turns[0]:g} and {turns[1]:g}: export it with --to hf."
        )


def write_scaling(writer: Any, gguf: Any, config: GPTConfig) -> None:
    """Write how a model's rotary positions are scaled, by `gguf`'s writer."""
    s = config.rope_scaling
    if s.kind == "llama3":
        found = divisors(config.head_size, config.rope_base, s)
        writer.add_tensor(FREQUENCIES, found.numpy().astype(np.float32))
    if s.kind not in ("linear", "yarn"):
        return
    writer.add_rope_scaling_type(gguf.RopeScalingType(s.kind))
    writer.add_rope_scaling_factor(s.factor)
    if s.kind == "yarn":
        writer.add_rope_scaling_orig_ctx_len(s.original_context_length)
        share = s.attention_factor / yarn_length(s.factor, 1.0)
        if share != 1:
            writer.add_rope_scaling_attn_factors(share)


def shortest(value: float) -> float:
    """The shortest decimal that is this number in float32, in which GGUF keeps it: 1e-05."""
    return float(str(np.float32(value)))
