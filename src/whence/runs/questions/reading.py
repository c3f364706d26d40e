"""A text that a person gives, as a batch for a run's model to read."""

from collections.abc import Sequence

import numpy as np
import torch

from whence.data import Part
from whence.data.batches import NOT_COUNTED
from whence.data.labels import LabelledPart
from whence.data.pairs import as_part
from whence.errors import WhenceError
from whence.models.seq2seq.config import Seq2SeqConfig
from whence.runs.tasks.labels import Labels
from whence.runs.tasks.pairs import parse_pairs
from whence.runs.training.session import Session


def part_of(session: Session, text: str | Sequence[int]) -> Part | LabelledPart:
    """Cut a text into one window: what is read, and the token after each.

    All of it is read. Nothing comes after the last token, so its prediction isn't counted in the
    loss; of a text that is one token longer than the window, the last one is a target alone.

    Args:
        session: its model reads it. An encoder–decoder takes lines of source, tab, target, a
            classifier lines of label, tab, text.
        text: at least two tokens, and at most one more than the model reads; or their ids.

    Raises:
        WhenceError: the text is too short or too long, or has a character the tokenizer lacks.

    Example:
        >>> part_of(Run.open("runs/mine").session(), "we love").inputs.shape  # doctest: +SKIP
        torch.Size([1, 7])
    """
    tokenizer, config = session.dataset.tokenizer, session.recipe.model
    device = session.hardware.device
    if isinstance(session.task, Labels) and isinstance(text, str):
        return session.task.part(text, device)
    if isinstance(config, Seq2SeqConfig) and isinstance(text, str):
        pairs = parse_pairs(text if text.endswith("\n") else text + "\n", tokenizer, config)
        part = as_part(pairs, config.separator, config.end)
    else:
        cut = tokenizer.encode(text) if isinstance(text, str) else text
        ids = np.asarray(cut).astype(np.int64)
        longest = config.context_length
        if not 2 <= len(ids) <= longest + 1:
            raise WhenceError(
                f"the text has {len(ids):,} token{'s' if len(ids) != 1 else ''}: give 2 to "
                f"{longest + 1:,}, as the model reads {longest:,} at most and predicts one more."
            )
        row = torch.from_numpy(ids)[None]
        after = torch.cat([row[:, 1:], torch.full((1, 1), NOT_COUNTED)], dim=1)
        part = Part(row[:, :longest], after[:, :longest], np.zeros(1, dtype=np.int64), 0)
    return part._replace(inputs=part.inputs.to(device), targets=part.targets.to(device))
