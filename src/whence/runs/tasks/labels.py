"""Name the class of a text: the text is lines of label, tab, text."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whence.data import Dataset, Source
from whence.data.labels import LabelBatches, LabelledPart, lay
from whence.data.pairs import split_pairs, split_sides
from whence.errors import WhenceError, shell_word
from whence.fields import short
from whence.generate import evaluating
from whence.generate.reader import CachedLanguageModel, LanguageModel
from whence.models.seq2seq.config import ClassifierConfig
from whence.runs.recipe import Recipe
from whence.runs.tasks.text import Batches, Precision, Text
from whence.train.evaluation import Evaluation, Progress, evenly, no_progress
from whence.train.losses import cross_entropy, seed_dropout

BATCH = 256
Lines = tuple[list[np.ndarray], list[int], int]  # texts, their classes, bytes of the labels


class Labels(Text):
    """Name classes; measured also by how many held-out texts are named rightly.

    Raises:
        WhenceError: a line without a label, or of a class that only held-out lines have.
    """

    unit = "texts"
    is_prose = False

    def __init__(self, recipe: Recipe, dataset: Dataset):
        super().__init__(recipe, dataset)
        assert isinstance(recipe.model, ClassifierConfig)  # the table of tasks says so
        self.config = recipe.model
        self._no_token_is_skipped()

    def question(self, run: str) -> str:
        """Return the arguments of `whence` that ask a trained model: how its first text begins."""
        first = self.dataset.tokenizer.decode(np.asarray(self.dataset.train[:400]))
        words = first.partition(chr(10))[0].partition(chr(9))[2].split()[:6]
        return f"classify {run} --ask {shell_word(' '.join(words))}"

    @staticmethod
    def settle(recipe: Recipe, source: Source) -> Recipe:
        """Put the classes that the text has into the recipe.

        Raises:
            WhenceError: a line that isn't label, tab, text, or fewer than two classes.
        """
        classes: set[str] = set()
        for number, line in source.lines():
            label, tab, text = line.partition("\t")
            if (line and not (label and tab and text.strip())) or "\t" in text:
                raise WhenceError(
                    f"{source.place(number)} is {short(line)}: each must be a label, one tab and a "
                    "text."
                )
            classes |= {label} if line else set()
        if len(classes) < 2:
            raise WhenceError(
                f"the text has {len(classes)} class(es): give lines of two labels or more."
            )
        assert isinstance(recipe.model, ClassifierConfig)
        return replace(recipe, model=replace(recipe.model, classes=tuple(sorted(classes))))

    @cached_property
    def lines(self) -> tuple[Lines, Lines]:
        """What is trained on, and what is held out; a line cut by the split is left out."""
        train, held = map(self._read, split_sides(self.dataset, *self._marks))
        if not held[0]:
            raise WhenceError(
                "no whole line is held out for validation: give more lines, or raise "
                "--data.validation."
            )
        if missing := set(held[1]) - set(train[1]):
            raise WhenceError(
                f"the class {self.config.classes[min(missing)]!r} occurs only at the end of the "
                "text, which is held out: shuffle the lines."
            )
        return train, held

    def batches(self, device: str) -> Batches:
        """Return batches of whole texts."""
        texts, classes, _ = self.lines[0]
        return LabelBatches(texts, classes, **self._batch_options(device))

    def part(self, text: str, device: str) -> LabelledPart:
        """Lay the lines of a text side by side, as a batch of its own.

        Raises:
            WhenceError: a line isn't label, tab, text, or is of a class that the run doesn't know.
        """
        lines = text.removesuffix("\n").split("\n")
        for line in lines:
            label, _, rest = line.partition("\t")
            if label not in self.config.classes or not rest.strip() or "\t" in rest:
                raise WhenceError(
                    f"{short(line)} isn't a labelled text: write its class "
                    f"({', '.join(self.config.classes)}), a tab, and the text."
                )
        tokens = np.asarray(self.dataset.tokenizer.encode("\n".join(lines) + "\n"))
        texts, classes, _ = self._read(self._split(tokens))
        inputs, visible = (t.to(device) for t in lay(texts))
        targets = torch.tensor(classes, device=device)
        return LabelledPart(inputs, visible, targets, np.arange(len(texts)), 0)

    def loss(self, model: Callable[..., Any], part: Any) -> Tensor:
        """Return the cross-entropy of the classes."""
        seed_dropout(part)
        return cross_entropy(model(part.inputs, part.visible), part.targets)

    @property
    def tokens_per_step(self) -> int:
        """How many tokens a batch holds on average."""
        texts = self.lines[0][0]
        return round(self.recipe.batch_size * sum(map(len, texts)) / len(texts))

    def evaluate(
        self,
        model: Any,
        n_tokens: int | None = None,
        precision: Precision = nullcontext,
        each: Progress = no_progress,
    ) -> Evaluation:
        """Measure on the held-out lines."""
        return self._measure_lines(model, self.lines[1], precision)

    def measure(self, model: Any, text: str | Source | None, overlap: bool = False) -> Evaluation:
        """Measure on the lines of a text, or on those held out."""
        if text is None:
            return self._measure_lines(model, self.lines[1])
        whole = text if isinstance(text, str) else "".join(text.chunks())
        tokens = np.asarray(self.dataset.tokenizer.encode(whole))
        return self._measure_lines(model, self._read(self._split(tokens)))

    def stretches(self, model: Any, n_tokens: int) -> list[float]:
        """The loss of twenty groups of held-out texts."""
        texts, classes, _ = self.lines[1]
        ends = np.cumsum([len(text) for text in texts])
        chosen = evenly(len(texts), max(1, int(len(texts) * n_tokens / ends[-1]))).tolist()
        targets = torch.tensor([classes[i] for i in chosen])
        logits, n = self._logits(model, [texts[i] for i in chosen]), len(chosen)
        losses = -logits.double().log_softmax(-1).gather(1, targets[:, None])[:, 0]
        return [part.mean().item() for part in losses.tensor_split(min(20, n))]

    def probabilities(self, model: Any, texts: list[str]) -> Tensor:
        """P of each class for each text, [N, C].

        Raises:
            WhenceError: an empty text, or a character that the tokenizer doesn't know.
        """
        tokens = [self._cut(np.asarray(self.dataset.tokenizer.encode(text))) for text in texts]
        if not all(len(ids) for ids in tokens):
            raise WhenceError("there is no text to classify: give one.")
        return self._logits(model, tokens).softmax(-1)

    def writer(self, model: Any) -> LanguageModel | CachedLanguageModel:
        """Refuse: a classifier writes nothing.

        Raises:
            WhenceError: always.
        """
        raise WhenceError(
            "the run's model is a classifier and generates no text: ask it with 'whence classify "
            "RUN --ask TEXT'."
        )

    def sample(self, model: Any, n_tokens: int, seed: int) -> str:
        """The first held-out text and the class that is said of it."""
        [(text, said, _)] = self.answers(model, 1)
        return f"{text} → {said}"

    def answers(self, model: Any, n: int) -> list[tuple[str, str, str]]:
        """The classes said of some held-out texts."""
        texts, classes, _ = self.lines[1]
        said = self._logits(model, texts[:n]).argmax(-1).tolist()
        names, decode = self.config.classes, self.dataset.tokenizer.decode
        return [
            (decode(text), names[mine], names[right])
            for text, mine, right in zip(texts, said, classes, strict=False)
        ]

    def _cut(self, tokens: np.ndarray) -> np.ndarray:
        return tokens[: self.config.context_length]

    @property
    def _marks(self) -> tuple[int, int]:
        """The ids of the tab and of the line break."""
        separator, end = (int(self.dataset.tokenizer.encode(mark)[0]) for mark in "\t\n")
        return separator, end

    def _split(self, tokens: np.ndarray) -> list[np.ndarray]:
        return split_pairs(tokens, *self._marks, first_is_whole=True, last_is_whole=True)

    def _read(self, lines: list[np.ndarray]) -> Lines:
        tokenizer = self.dataset.tokenizer
        separator, _ = self._marks
        numbers = {name: number for number, name in enumerate(self.config.classes)}
        texts, classes, n_bytes = [], [], 0
        for line in lines:
            tab = int(np.argmax(line == separator))
            label = tokenizer.decode(line[:tab])
            if label not in numbers:
                raise WhenceError(
                    f"{label!r} isn't a class of this run, which knows {', '.join(numbers)}: if it "
                    "occurs only at the end of the text, which is held out, shuffle the lines."
                )
            texts.append(self._cut(line[tab + 1 : -1]))
            classes.append(numbers[label])
            n_bytes += len(label.encode())
        return texts, classes, n_bytes

    def _measure_lines(
        self, model: Any, lines: Lines, precision: Precision = nullcontext
    ) -> Evaluation:
        texts, classes, n_bytes = lines
        if not texts:
            raise WhenceError("the text has no labelled lines: give lines of label, tab, text.")
        logits, targets = self._logits(model, texts, precision), torch.tensor(classes)
        right = (logits.argmax(-1) == targets).float().mean().item()
        loss = cross_entropy(logits.double(), targets).item()
        return Evaluation(loss, len(texts), max(1, n_bytes), exact_match=right)

    def _logits(
        self, model: Any, texts: list[np.ndarray], precision: Precision = nullcontext
    ) -> Tensor:
        device = model.head.weight.device
        found = []
        with evaluating(model), torch.inference_mode(), precision():
            for start in range(0, len(texts), BATCH):
                inputs, visible = lay(texts[start : start + BATCH])
                found.append(model(inputs.to(device), visible.to(device)).float().cpu())
        return torch.cat(found)
