"""Vectors in context: what a run's model makes of texts, compared by cosine."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from whence.data.tokenizers.words import UNKNOWN_ID
from whence.errors import WhenceError
from whence.generate import evaluating
from whence.models import Classifier, NGramGPT, Seq2Seq
from whence.runs.run import Run


def cosines(run: Run, texts: Sequence[str], word: str | None = None) -> list[list[float]]:
    """Return the cosine a·b / (|a|·|b|) of the vectors of each two texts.

    Args:
        run: of an encoder or an encoder–decoder; of another model the vectors are those that its
            head reads, each made of the token and those before it.
        texts: two or more.
        word: take the vectors of this word in each text (the mean over its tokens), rather than
            the mean over the text's.

    Raises:
        WhenceError: fewer than two texts, one without the word, or a model without vectors.

    Example:
        >>> cosines(Run.open("runs/spam-1"), ["free money", "lunch at one"])  # doctest: +SKIP
        [[1.0, -0.2], [-0.2, 1.0]]
    """
    if len(texts) < 2:
        raise WhenceError("there is only one text: give two or more to compare.")
    model = run.model()
    vectors = torch.stack([_vector(run, model, text, word) for text in texts])
    return F.cosine_similarity(vectors[:, None], vectors[None], dim=-1).tolist()


def unknown(run: Run, texts: Sequence[str]) -> list[int]:
    """Count the words of each text that the run's tokenizer doesn't know; they look alike to it.

    Example:
        >>> unknown(Run.open("runs/spam-1"), ["free zzyzx"])  # doctest: +SKIP
        [1]
    """
    if run.tokenizer.kind != "words":
        return [0] * len(texts)
    return [int((np.asarray(run.tokenizer.encode(text)) == UNKNOWN_ID).sum()) for text in texts]


def _in_context(run: Run, model: Any, ids: Tensor) -> Tensor:
    """The vector of each token, [S, D]."""
    with evaluating(model), torch.inference_mode():
        if isinstance(model, Classifier | Seq2Seq):
            return model.encoder(ids[None])[0]
        head = (model.gpt if isinstance(model, NGramGPT) else model)._modules.get("head")
        if head is None:
            raise WhenceError(
                f"the model of {run.path} has no vectors for its tokens: give a run of another "
                "kind of model."
            )
        entered: list[Tensor] = []
        hook = head.register_forward_pre_hook(lambda _module, inputs: entered.append(inputs[0]))
        try:
            model(ids[None])
        finally:
            hook.remove()
        return entered[0][0]


def _vector(run: Run, model: Any, text: str, word: str | None) -> Tensor:
    ids = np.asarray(run.tokenizer.encode(text)).astype(np.int64)
    longest = run.recipe.model.context_length
    if not 1 <= len(ids) <= longest:
        raise WhenceError(f"{text[:40]!r} has {len(ids)} tokens: give 1 to {longest}.")
    vectors = _in_context(run, model, torch.from_numpy(ids))  # [S, D]
    if word is None:
        return vectors.mean(0)
    decode = run.tokenizer.decode
    ends = np.array([len(decode(ids[: i + 1].tolist())) for i in range(len(ids))])
    at = decode(ids.tolist()).find(word) if word else -1
    if at < 0:
        raise WhenceError(
            f"{word!r} isn't in {text[:40]!r}, as the run's tokenizer reads it: "
            f"{decode(ids.tolist())[:60]!r}."
        )
    starts = np.concatenate(([0], ends[:-1]))
    return vectors[torch.from_numpy((ends > at) & (starts < at + len(word)))].mean(0)
