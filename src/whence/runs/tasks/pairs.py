"""Write a target for a source: the text is lines of source, tab, target."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from whence.data import Dataset, Source
from whence.data.pairs import PairBatches, as_part, check_marks, split_pairs, split_sides
from whence.data.tokenizers import Tokenizer
from whence.errors import WhenceError, shell_word
from whence.fields import short
from whence.generate.pairs import exact_match, greedy_answers
from whence.models.seq2seq.config import Seq2SeqConfig
from whence.models.seq2seq.model import Seq2Seq
from whence.runs.recipe import Recipe
from whence.runs.tasks.text import Batches, Precision, Text
from whence.train.evaluation import Evaluation, Progress, evaluate_parts, evenly, no_progress
from whence.train.losses import next_token_loss

BATCH = 256
QUICK = 300  # pairs written out for exact match during training


class Pairs(Text):
    """Write the targets of pairs; measured also by how many are written without a mistake."""

    unit = "pairs"
    is_prose = False

    def __init__(self, recipe: Recipe, dataset: Dataset):
        super().__init__(recipe, dataset)
        assert isinstance(recipe.model, Seq2SeqConfig)  # the table of tasks says so
        self.config = recipe.model
        self._no_token_is_skipped()

    @staticmethod
    def settle(recipe: Recipe, source: Source) -> Recipe:
        """Refuse a text with a line that isn't a pair.

        Raises:
            WhenceError: naming the line: one without a target would teach nothing.
        """
        for number, line in source.lines():
            before, _, after = line.partition("\t")
            if line and (not before or not after or "\t" in after):
                raise WhenceError(
                    f"{source.place(number)} is {short(line)}: each must be a source, one tab and "
                    "a target."
                )
        return recipe

    @cached_property
    def pairs(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The pairs to train on, and those held out."""
        return pairs_of(self.dataset, self.config)

    def batches(self, device: str) -> Batches:
        """Return batches of whole pairs."""
        c = self.config
        return PairBatches(self.pairs[0], c.separator, c.end, **self._batch_options(device))

    def loss(self, model: Callable[..., Any], part: Any) -> Tensor:
        """Return the loss on the targets, their labels smoothed."""
        return next_token_loss(model, part, self.config.label_smoothing)

    def question(self, run: str) -> str:
        """Return the arguments of `whence` that ask a trained model: its first source."""
        first = self.dataset.tokenizer.decode(np.asarray(self.dataset.train[:400]))
        return f"generate {run} {shell_word(first.partition(chr(9))[0])} --beam 4"

    @property
    def tokens_per_step(self) -> int:
        """How many tokens a batch holds on average."""
        pairs = self.pairs[0]
        return round(self.recipe.batch_size * sum(map(len, pairs)) / len(pairs))

    def evaluate(
        self,
        model: Any,
        n_tokens: int | None = None,
        precision: Precision = nullcontext,
        each: Progress = no_progress,
    ) -> Evaluation:
        """Measure on the held-out pairs."""
        return measure_pairs(
            model, self.pairs[1], self.dataset.tokenizer, n_tokens, precision, each
        )

    def measure(self, model: Any, text: str | Source | None, overlap: bool = False) -> Evaluation:
        """Measure on the pairs of a text, or on those held out."""
        pairs = self.pairs[1]
        if text is not None:
            whole = text if isinstance(text, str) else "".join(text.chunks())
            pairs = parse_pairs(whole, self.dataset.tokenizer, self.config)
        return measure_pairs(model, pairs, self.dataset.tokenizer)

    def stretches(self, model: Any, n_tokens: int) -> list[float]:
        """The loss of twenty groups of held-out pairs."""
        pairs = some_of(self.pairs[1], n_tokens)
        c, groups = self.config, np.array_split(np.arange(len(pairs)), min(20, len(pairs)))
        parts = [as_part([pairs[i] for i in rows], c.separator, c.end) for rows in groups]
        return [evaluate_parts(model, [part], n_bytes=1).loss for part in parts]

    @property
    def prompt(self) -> str:
        """The source of a held-out pair."""
        pair = self.dataset.tokenizer.decode(self.pairs[1][0])
        return pair[: pair.index("\t") + 1]

    @property
    def stop(self) -> tuple[str, ...]:
        """A target ends with its line."""
        return ("\n",)

    def asked(self, prompt: str) -> str:
        """Put the tab after a source, where the answer begins.

        Raises:
            WhenceError: an empty source.
        """
        if not prompt.strip():
            raise WhenceError("the run's model needs a source text: give one as the prompt.")
        return prompt if "\t" in prompt else prompt + "\t"

    def answers(self, model: Any, n: int) -> list[tuple[str, str, str]]:
        """Greedy targets of some held-out sources."""
        decode, pairs = self.dataset.tokenizer.decode, self.pairs[1][:n]
        cuts = [int(np.argmax(pair == self.config.separator)) for pair in pairs]
        sources = [pair[:cut] for pair, cut in zip(pairs, cuts, strict=True)]
        written = greedy_answers(model, sources)
        return [
            (decode(source), decode(answer), decode(pair[cut + 1 : -1]))
            for source, answer, pair, cut in zip(sources, written, pairs, cuts, strict=True)
        ]


def pairs_of(dataset: Dataset, config: Seq2SeqConfig) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Cut a dataset into pairs to train on and pairs held out; a pair cut by the split is left out.

    Raises:
        WhenceError: a line isn't a pair, is too long for the model, or nothing is held out.
    """
    marks = (config.separator, config.end)
    check_marks(dataset.tokenizer, *marks)
    train, held_out = split_sides(dataset, *marks)
    if not held_out:
        raise WhenceError(
            "no whole pair is held out for validation: give more lines, or raise --data.validation."
        )
    for pair in (*train, *held_out):
        cut = int(np.argmax(pair == config.separator))
        longest = max(cut, len(pair) - cut - 1)
        if longest > config.context_length:
            raise WhenceError(
                f"the pair {dataset.tokenizer.decode(pair)!r} has a side of {longest} tokens, but "
                f"the model reads {config.context_length}: set --model.context-length {longest}."
            )
    return train, held_out


def parse_pairs(text: str, tokenizer: Tokenizer, config: Seq2SeqConfig) -> list[np.ndarray]:
    """Cut a text of whole lines into pairs.

    Raises:
        WhenceError: a line isn't a pair, or there are none.
    """
    tokens = np.asarray(tokenizer.encode(text))
    found = split_pairs(
        tokens, config.separator, config.end, first_is_whole=True, last_is_whole=True
    )
    if not found:
        raise WhenceError("the text has no pairs: each line must be a source, a tab and a target.")
    return found


def some_of(pairs: list[np.ndarray], n_tokens: int) -> list[np.ndarray]:
    """Choose pairs of about so many tokens in all, spread evenly.

    Example:
        >>> some_of([np.array([i, 0]) for i in range(9)], 6)[0].tolist()
        [1, 0]
    """
    ends = np.cumsum([len(pair) for pair in pairs])
    return [pairs[i] for i in evenly(len(pairs), max(1, int(len(pairs) * n_tokens / ends[-1])))]


def measure_pairs(
    model: Seq2Seq,
    pairs: list[np.ndarray],
    tokenizer: Tokenizer,
    n_tokens: int | None = None,
    precision: Callable[[], AbstractContextManager] = nullcontext,
    each: Progress = no_progress,
) -> Evaluation:
    """Measure loss and exact match on pairs; with `n_tokens` on about so many tokens of them.

    Args:
        model: the encoder–decoder.
        pairs: ids of source, tab, target and line break.
        tokenizer: what the ids mean.
        n_tokens: stop after so many tokens, and write out a few hundred targets only.
        precision: a context such as autocast.
        each: called between batches with how far it is.
    """
    c = model.config
    if n_tokens is not None:
        pairs = some_of(pairs, n_tokens)
    device = model.head.weight.device
    parts = []
    for start in range(0, len(pairs), BATCH):
        part = as_part(pairs[start : start + BATCH], c.separator, c.end)
        parts.append(part._replace(inputs=part.inputs.to(device), targets=part.targets.to(device)))
    targets = [pair[int(np.argmax(pair == c.separator)) + 1 :] for pair in pairs]
    n_bytes = tokenizer.n_bytes(np.concatenate(targets))
    found = evaluate_parts(model, parts, n_bytes=n_bytes, precision=precision, each=each)
    written = pairs if n_tokens is None else [pairs[i] for i in evenly(len(pairs), QUICK)]
    return Evaluation(found.loss, found.n_tokens, n_bytes, exact_match(model, written))
