"""Slopes by all parameters: of a prediction, and of every token's loss along a direction."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from whence.data import Part
from whence.data.batches import NOT_COUNTED
from whence.data.labels import LabelledPart
from whence.errors import WhenceError
from whence.runs.replay import Moment
from whence.runs.tasks.labels import Labels
from whence.train.losses import seed_dropout


class Question:
    """ln P(next | prompt), in nats, by the model of a moment, without dropout.

    Args:
        moment: it may move on; the question is put to the model as it is then.
        prompt: what is read.
        next: what comes after it; of several tokens the ln P are added. Of a classifier, the class.

    Raises:
        WhenceError: a text is empty, too long, or has an unknown character.
    """

    def __init__(self, moment: Moment, prompt: str, next: str):
        tokenizer, longest = moment.tokenizer, moment.recipe.model.context_length
        for name, text in (("the prompt", prompt), ("--next", next)):
            if not text:
                raise WhenceError(f"{name} is empty: give a text.")
        device = moment.session.hardware.device
        self.moment, self.count = moment, 0
        self.named = _class(moment, next)
        first = np.asarray(tokenizer.encode(prompt)).astype(np.int64)
        if self.named is not None:
            self.ids = torch.from_numpy(first[:longest])[None].to(device)
            return
        then = np.asarray(tokenizer.encode(next)).astype(np.int64)
        if len(first) + len(then) - 1 > longest:
            raise WhenceError(
                f"prompt and --next have {len(first) + len(then)} tokens, but the model reads "
                f"{longest}: shorten the prompt."
            )
        self.count = len(then)
        self.ids = torch.from_numpy(np.concatenate((first, then)))[None].to(device)

    def ask(self) -> tuple[float, dict[str, Tensor]]:
        """Return ln P and its gradient by each parameter; nothing of the model is changed."""
        model, named = self.moment.model, self.moment.optimizer.named
        was = model.training
        model.eval()
        try:
            with torch.enable_grad(), self.moment.session.stepping():
                if self.named is not None:
                    total = model(self.ids)[0].float().log_softmax(-1)[self.named]
                else:
                    logits = model(self.ids[:, :-1])[0, -self.count :].float()  # [n, V]
                    chosen = logits.log_softmax(-1).gather(1, self.ids[0, -self.count :, None])
                    total = chosen.sum()
                slopes = torch.autograd.grad(total, list(named.values()), allow_unused=True)
        finally:
            model.train(was)
        pairs = zip(named.items(), slopes, strict=True)
        return float(total.detach()), {
            name: torch.zeros_like(weight) if slope is None else slope
            for (name, weight), slope in pairs
        }


def _class(moment: Moment, name: str) -> int | None:
    """The number of a classifier's class, `None` for other models."""
    task = moment.session.task
    if not isinstance(task, Labels):
        return None
    classes = task.config.classes
    if name not in classes:
        raise WhenceError(
            f"{name!r} isn't a class of this run: give --next one of {', '.join(classes)}."
        )
    return classes.index(name)


def token_slopes(
    moment: Moment, part: Part | LabelledPart, at: dict[str, Tensor], toward: dict[str, Tensor]
) -> Tensor:
    """Return d/dε of every token's share of a part's loss at θ + ε·direction, in one pass.

    Args:
        moment: its model and its loss.
        part: the tokens; dropout draws what it drew in training.
        at: θ by name.
        toward: the direction by name.

    Returns:
        [B, T] in float32, [B, 1] for a classifier; their sum is ⟨direction, gradient of the part's
        mean loss⟩.

    Example:
        >>> token_slopes(moment, part, weights, direction).sum()  # doctest: +SKIP
    """
    smoothing = getattr(moment.recipe.model, "label_smoothing", 0.0)
    with moment.session.hardware.in_force(), forward_ad.dual_level(), _formulas():
        duals = {
            name: forward_ad.make_dual(at[name].requires_grad_(), toward[name]) for name in toward
        }
        seed_dropout(part)
        labelled = isinstance(part, LabelledPart)
        inputs = (part.inputs, part.visible) if labelled else (part.inputs,)
        logits = functional_call(moment.model, duals, inputs).float()
        losses = F.cross_entropy(
            logits.flatten(0, -2),
            part.targets.flatten(),
            reduction="none",
            label_smoothing=smoothing,
            ignore_index=NOT_COUNTED,
        )
        tangent = forward_ad.unpack_dual(losses).tangent
    size = (len(part.targets), -1)
    if tangent is None:
        return torch.zeros(part.targets.numel()).view(size)
    counted = int((part.targets != NOT_COUNTED).sum())
    return (tangent.detach() / counted).view(size)


@contextmanager
def _formulas() -> Iterator[None]:
    """Use the kernels that support forward-mode differentiation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of hardware that isn't there
        with sdpa_kernel(SDPBackend.MATH), torch.backends.mkldnn.flags(enabled=False):
            yield
