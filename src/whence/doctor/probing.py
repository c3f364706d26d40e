"""Probes of a model: change a token, and look at the logits that must not change."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from whence.doctor.evidence import Probes
from whence.doctor.measuring.predicted import Caught, logits_of
from whence.doctor.measuring.watching import Watching
from whence.errors import WhenceError

MOST_ROWS = 4
STANDS_OUT = 2  # times as long as what repeats elsewhere: ours
MOST_SINGLE = 8  # tokens that are read one by one: a wrong place shows at the first of them


class Asked:
    """A call of a model that can be made again with other tokens, in evaluation mode.

    Args:
        model: what was called.
        call: how.
    """

    def __init__(self, model: nn.Module, call: Caught):
        self.model, self.call = model, call
        tokens = call.tokens
        assert tokens is not None
        self.n = min(MOST_ROWS, len(tokens))
        self.tokens = tokens[: self.n].clone()
        self._whole = tokens

    def __call__(self, tokens: Tensor, seed: int = 0) -> Tensor:
        """Return the logits for other tokens; what is random draws from the seed."""
        n = len(self._whole)

        def swapped(value: Any) -> Any:
            if value is self._whole:
                return tokens
            if isinstance(value, Tensor) and value.ndim >= 1 and len(value) == n:
                return value[: self.n]
            return value

        args = tuple(swapped(v) for v in self.call.args)
        kwargs = {k: swapped(v) for k, v in self.call.kwargs.items()}
        kept = {n: b.clone() for n, b in self.model.named_buffers()}
        torch.manual_seed(seed)
        try:
            found = logits_of(self.model(*args, **kwargs))
        finally:
            for name, buffer in self.model.named_buffers():
                if name in kept and buffer.shape == kept[name].shape:
                    buffer.data.copy_(kept[name])
        if found is None:
            raise WhenceError("the model returns no logits, so it can't be probed.")
        return found.detach().float()


def probe(model: nn.Module, call: Caught, vocab_size: int, each_has_target: bool) -> Probes | None:
    """Ask a model the questions that its tokens allow.

    Args:
        model: it is left as it was.
        call: a call of it in training, with token ids.
        vocab_size: tokens there are.
        each_has_target: whether there are logits for each token.
    """
    if call.tokens is None or call.tokens.shape[1] < 2:
        return None
    ask, found = Asked(model, call), Probes()
    state = torch.get_rng_state()
    modes = [m.training for m in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            base = ask(ask.tokens)
            if not bool(base.isfinite().all()):
                return None
            found.noise = _far(ask(ask.tokens, 1), ask(ask.tokens, 2), base)
            _rows(found, ask, base, vocab_size)
            _order(found, ask, base, vocab_size, each_has_target)
            _padding(found, ask, base, vocab_size, each_has_target)
            _places(found, model, ask, vocab_size)
            _cache(found, model, ask, base)
    except (WhenceError, RuntimeError, ValueError, IndexError, TypeError):
        return None
    finally:
        for module, mode in zip(model.modules(), modes, strict=True):
            module.training = mode
        torch.set_rng_state(state)
    return found


def _far(a: Tensor, b: Tensor, base: Tensor) -> float:
    """The largest difference, in standard deviations of the logits."""
    if not a.numel():
        return 0.0
    spread = float(base.std()) if base.numel() > 1 else 0.0
    return float((a - b).abs().max()) / max(spread, 1e-6)


def _other(tokens: Tensor, vocab_size: int) -> Tensor:
    """Ids other than these, from the existing ones."""
    return (tokens + max(1, vocab_size // 3)) % max(2, vocab_size)


def _rows(found: Probes, ask: Asked, base: Tensor, vocab_size: int) -> None:
    if ask.n < 2 or base.shape[0] != ask.n:
        return
    changed = ask.tokens.clone()
    changed[-1] = _other(changed[-1], vocab_size)
    found.across = _far(ask(changed)[:-1], base[:-1], base)


def _order(found: Probes, ask: Asked, base: Tensor, vocab_size: int, each_has_target: bool) -> None:
    T = ask.tokens.shape[1]
    if not each_has_target or base.ndim != 3 or base.shape[1] != T:
        return
    changed = ask.tokens.clone()
    changed[:, -1] = _other(changed[:, -1], vocab_size)
    found.ahead = _far(ask(changed)[:, :-1], base[:, :-1], base)
    half = T // 2
    changed = ask.tokens.clone()
    changed[:, half - 1 if half else 0] = _other(changed[:, half - 1 if half else 0], vocab_size)
    after = slice(half, None) if half else slice(1, None)
    found.before = _far(ask(changed)[:, after], base[:, after], base)


def _padding(
    found: Probes, ask: Asked, base: Tensor, vocab_size: int, each_has_target: bool
) -> None:
    mask = _mask(ask)
    pad = ~mask if mask is not None and not bool(mask.all()) else _tail(ask.tokens)
    found.marked = mask is not None and not bool(mask.all())
    found.padded = float(pad.float().mean())
    if not bool(pad.any()) or bool(pad.all()):
        return
    changed = torch.where(pad, _other(ask.tokens, vocab_size), ask.tokens)
    now = ask(changed)
    if each_has_target and base.ndim == 3:
        keep = ~pad
        found.hidden = _far(now[keep], base[keep], base)
    else:
        rows = pad.any(1)
        found.hidden = _far(now[rows], base[rows], base)


def _mask(ask: Asked) -> Tensor | None:
    """What tells the model which tokens are padding: True where they are to be read."""
    for value in (*ask.call.args, *ask.call.kwargs.values()):
        if (
            isinstance(value, Tensor)
            and value is not ask._whole
            and value.shape == ask._whole.shape
        ):
            if value.dtype == torch.bool:
                return value[: ask.n]
            if int(value.min()) >= 0 and int(value.max()) <= 1 and not value.is_floating_point():
                return value[: ask.n].bool()
    return None


def _tail(tokens: Tensor) -> Tensor:
    """The runs of one same id at the rows' ends: what padding looks like.

    Rows must end in runs of the same id, of different lengths, and of two or more somewhere. In a
    text that repeats itself rows end so, too: the usual one must be `STANDS_OUT` times as long as
    any run of an id elsewhere.
    """
    none = torch.zeros_like(tokens, dtype=torch.bool)
    last = tokens[:, -1:]
    runs = (tokens == last).flip(1).cumprod(1).flip(1).bool()
    lengths = runs.sum(1)
    common = last.flatten().mode().values
    padded = runs & (last == common) & (lengths[:, None] >= 2)
    many = int((padded.any(1)).sum())
    if many < max(2, len(tokens) // 2) or len(lengths.unique()) < 2:
        return none
    usual = float(lengths[padded.any(1)].float().median())
    return padded if usual >= STANDS_OUT * _longest_repeat(tokens, padded) else none


def _longest_repeat(tokens: Tensor, padded: Tensor) -> int:
    """How often, at most, an id comes again right after itself, outside of the padding."""
    now = torch.zeros_like(tokens[:, 0])
    longest = 0
    for again in ((tokens[:, 1:] == tokens[:, :-1]) & ~padded[:, 1:]).unbind(1):
        now = (now + 1) * again
        longest = max(longest, int(now.max()))
    return longest


def _places(found: Probes, model: nn.Module, ask: Asked, vocab_size: int) -> None:
    watching = Watching(model)
    same = torch.full_like(ask.tokens, int(ask.tokens[0, 0]))
    with watching.on():
        ask(same)
    if watching.positional:
        found.place = any(watching.positional)


def _cache(found: Probes, model: nn.Module, ask: Asked, base: Tensor) -> None:
    """Read half of the tokens at once, and some more one by one, with what the model remembers."""
    read: Callable[[Tensor], Tensor] | None = None
    tokens = ask.tokens[:1]
    alone = len(ask.call.args) + len(ask.call.kwargs) == 1
    if alone and hasattr(model, "new_cache") and base.ndim == 3:
        cached: Any = model
        memory = cached.new_cache(1)

        def ours(piece: Tensor) -> Tensor:
            return model(piece, memory)

        read = ours
    elif hasattr(model, "config") and getattr(model.config, "use_cache", False):
        past: dict[str, Any] = {}

        def step(piece: Tensor) -> Tensor:
            out = model(input_ids=piece, use_cache=True, **copy.copy(past))
            past["past_key_values"] = out.past_key_values
            return out.logits

        read = step
    if read is None or base.ndim != 3 or base.shape[1] != tokens.shape[1]:
        return
    try:
        half = tokens.shape[1] // 2
        end = min(tokens.shape[1], half + MOST_SINGLE)
        pieces = [tokens[:, :half], *(tokens[:, t : t + 1] for t in range(half, end))]
        by_pieces = torch.cat([read(piece).float() for piece in pieces if piece.shape[1]], 1)
        found.cache = _far(by_pieces, base[:1, :end], base)
    except (RuntimeError, TypeError, WhenceError, AttributeError, ValueError, IndexError):
        found.cache = None
