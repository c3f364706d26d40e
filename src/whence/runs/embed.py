"""Vectors in context: what a run's encoder makes of texts, compared by cosine."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from whence.errors import WhenceError
from whence.generate import inference
from whence.models import Classifier, Seq2Seq
from whence.models.seq2seq.encoder import Encoder
from whence.runs.run import Run


def cosines(run: Run, texts: Sequence[str], word: str | None = None) -> list[list[float]]:
    """Return the cosine a·b / (|a|·|b|) of the vectors of each two texts.

    Args:
        run: of an encoder, or an encoder–decoder.
        texts: two or more.
        word: take the vectors of this word in each text (the mean over its tokens), rather than
            the mean over the text's.

    Raises:
        WhenceError: fewer than two texts, one without the word, or a run without an encoder.

    Example:
        >>> cosines(Run.open("runs/spam-1"), ["free money", "lunch at one"])  # doctest: +SKIP
        [[1.0, -0.2], [-0.2, 1.0]]
    """
    if len(texts) < 2:
        raise WhenceError("one text is like itself: give two or more to compare.")
    model = run.model()
    if not isinstance(model, Classifier | Seq2Seq):
        raise WhenceError(
            f"{run.path} has no encoder: train one with --model encoder, on lines of label, tab, "
            "text."
        )
    vectors = torch.stack([_vector(run, model.encoder, text, word) for text in texts])
    return F.cosine_similarity(vectors[:, None], vectors[None], dim=-1).tolist()


def _vector(run: Run, encoder: Encoder, text: str, word: str | None) -> Tensor:
    ids = np.asarray(run.tokenizer.encode(text)).astype(np.int64)
    longest = encoder.config.context_length
    if not 1 <= len(ids) <= longest:
        raise WhenceError(f"{text[:40]!r} has {len(ids)} tokens: give 1 to {longest}.")
    with inference(encoder), torch.inference_mode():
        vectors = encoder(torch.from_numpy(ids)[None])[0]  # [S, D]
    if word is None:
        return vectors.mean(0)
    decode = run.tokenizer.decode
    ends = np.array([len(decode(ids[: i + 1].tolist())) for i in range(len(ids))])
    at = decode(ids.tolist()).find(word) if word else -1
    if at < 0:
        raise WhenceError(
            f"{word!r} doesn't stand in {text[:40]!r}, as the run's tokenizer reads it: "
            f"{decode(ids.tolist())[:60]!r}."
        )
    starts = np.concatenate(([0], ends[:-1]))
    return vectors[torch.from_numpy((ends > at) & (starts < at + len(word)))].mean(0)
