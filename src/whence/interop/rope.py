"""Rotary positions in a config.json: their base, and how longer contexts scale them."""

import math
from typing import Any

from whence.errors import WhenceError
from whence.interop.reading import Fields
from whence.models import GPTConfig
from whence.models.layers.rope_scaling import RopeScaling


def read_rope(fields: Fields) -> tuple[float, RopeScaling]:
    """Return the base of the rotary positions and how they are scaled.

    Raises:
        WhenceError: in a way that this GPT doesn't know.
    """
    rope = fields.table("rope_parameters")  # since transformers 5; before that in two places
    base = rope.number("rope_theta", fields.number("rope_theta", 10000.0))
    share = rope.number("partial_rotary_factor", fields.number("partial_rotary_factor", 1.0))
    if rope.given("rope_type") is None:
        rope = fields.table("rope_scaling")
    if share != 1:
        raise WhenceError(f"{fields.where} rotates {share:g} of each head: this GPT rotates all.")
    kind = rope.text("rope_type", rope.text("type", "default"))
    if kind == "default":
        return base, RopeScaling()
    if kind == "linear":
        return base, RopeScaling("linear", rope.number("factor"))
    if kind == "llama3":
        return base, RopeScaling(
            "llama3",
            rope.number("factor"),
            rope.number("low_freq_factor"),
            rope.number("high_freq_factor"),
            rope.count("original_max_position_embeddings"),
        )
    if kind == "yarn":
        return base, _read_yarn(rope, base, fields.count("max_position_embeddings", 2048))
    raise WhenceError(
        f"{fields.where} scales its rotary positions by {kind!r}: linear, llama3 and yarn can be "
        "read."
    )


def _read_yarn(rope: Fields, base: float, context_length: int) -> RopeScaling:
    check_yarn_base(base, rope.where)
    if not rope.flag("truncate", True):
        raise WhenceError(f"{rope.where} turns off truncate, but this GPT always truncates.")
    first = rope.count("original_max_position_embeddings", context_length)
    factor = rope.number("factor", context_length / first)
    above, below = rope.given("mscale"), rope.given("mscale_all_dim")
    usual = yarn_length(factor, 1.0)
    if above and below:
        usual = yarn_length(factor, rope.number("mscale"))
        usual /= yarn_length(factor, rope.number("mscale_all_dim"))
    return RopeScaling(
        "yarn",
        factor,
        low_freq_factor=rope.number("beta_slow", 1.0),
        high_freq_factor=rope.number("beta_fast", 32.0),
        original_context_length=first,
        attention_factor=rope.number("attention_factor", usual),
    )


def yarn_length(factor: float, weight: float) -> float:
    """Return what YaRN multiplies queries and keys by: 0.1 · weight · ln(factor) + 1.

    Example:
        >>> round(yarn_length(4.0, 1.0), 4)
        1.1386
    """
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0


def check_yarn_base(base: float, where: str) -> None:
    """Refuse a base of rotary positions for which YaRN has no formula.

    Raises:
        WhenceError: saying so.
    """
    if base <= 1:
        raise WhenceError(f"{where} gives rope_theta as {base:g}: YaRN needs more than 1.")


def written_rope(c: GPTConfig) -> dict[str, Any]:
    """The rotary settings, in the place of transformers 5 and in that of those before."""
    s = c.rope_scaling
    scaling: dict[str, Any] = {"rope_type": "default" if s.kind == "none" else s.kind}
    if s.kind != "none":
        scaling["factor"] = s.factor
    if s.kind == "llama3":
        scaling |= {
            "low_freq_factor": s.low_freq_factor,
            "high_freq_factor": s.high_freq_factor,
            "original_max_position_embeddings": s.original_context_length,
        }
    if s.kind == "yarn":
        scaling |= {
            "beta_slow": s.low_freq_factor,
            "beta_fast": s.high_freq_factor,
            "original_max_position_embeddings": s.original_context_length,
            "attention_factor": s.attention_factor,
        }
    both: dict[str, Any] = {"rope_parameters": {"rope_theta": c.rope_base, **scaling}}
    if s.kind != "none":
        both["rope_scaling"] = scaling
    return both
