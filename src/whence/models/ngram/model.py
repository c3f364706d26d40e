"""n-grams by counting: the model that needs no loop.

The first rung of the ladder: P(next token | the last n − 1 tokens) is read off how often each token
followed them in the training text. Smoothing decides what an n-gram never seen is worth.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from whence.errors import WhenceError
from whence.models.ngram.backoff import NO_TOKEN, Table, contexts_of, distributions, score
from whence.models.ngram.backoff import contexts as contexts_after
from whence.models.ngram.config import NGramConfig
from whence.models.ngram.counts.counting import Counts, count_ngrams
from whence.models.ngram.counts.scratch import Scratch
from whence.models.ngram.counts.tokens import check_tokens
from whence.models.ngram.leave_one_out import LeaveOneOut
from whence.models.ngram.smoothing import additive, discounts, kneser_ney

ROWS = 1 << 14  # contexts worked on at a time


class NGram(nn.Module):
    """An n-gram model: `fit` counts a text, and calling it gives the log-probabilities.

    P(w | c) as in `smoothing.additive` and `smoothing.kneser_ney`. Contexts are at most order − 1
    tokens; a shorter one (at the start of a text or window) is used as it is.

    Args:
        config: order and smoothing.
        vocab_size: V, number of different tokens.
        start: id of a start mark, if texts are cut by one. It is read as context and never
            predicted: its probability is 0, V counts the other tokens, no context reaches back
            across it. A mark that both ends one text and starts the next is an ordinary token.

    Example:
        >>> words = "I like to eat . I like pizza .".split()
        >>> ids = {w: i for i, w in enumerate(dict.fromkeys(words))}
        >>> bigram = NGram(NGramConfig(order=2, smoothing="mle"), vocab_size=len(ids))
        >>> bigram = bigram.fit(np.array([ids[w] for w in words]))
        >>> np.exp(bigram.log_probs(np.array([[ids["like"]]])))[0, ids["to"]]
        np.float32(0.5)

    Raises:
        WhenceError: where the vocabulary is empty, or the start mark is outside of it.
    """

    def __init__(self, config: NGramConfig, vocab_size: int, start: int | None = None):
        super().__init__()
        if vocab_size < 1:
            raise WhenceError(f"vocab_size is {vocab_size}: a vocabulary has at least 1 token.")
        if start is not None and not 0 <= start < vocab_size:
            raise WhenceError(
                f"The start mark's id {start} is outside the vocabulary of {vocab_size}."
            )
        self.config = config
        self.vocab_size = vocab_size
        self.start = start
        self.context_length = max(1, config.order - 1)
        self.counts: Counts | None = None
        self.table: Table | None = None
        self.discounts = np.zeros((config.order, 4))
        self.notes: list[str] = []
        self._leave_one_out: LeaveOneOut | None = None

    def fit(self, tokens: np.ndarray, folder: Path | None = None) -> Self:
        """Counts `tokens` and turns the counts into probabilities.

        Args:
            tokens: ids, [N]; may be an `np.memmap` longer than memory.
            folder: where counting above `memory_mb` keeps its files; by default the system's
                temporary folder.

        Returns:
            The model itself. `notes` says in sentences what was done differently from what was
            requested.

        Raises:
            WhenceError: no tokens, an id outside the vocabulary, or a disk too full.
        """
        c = self.config
        self.counts = count_ngrams(
            tokens,
            c.order,
            self.vocab_size,
            start=self.start,
            memory_mb=c.memory_mb,
            folder=folder,
        )
        self._leave_one_out = None
        self.notes = []
        if c.smoothing == "kneser-ney":
            self.discounts, self.notes = discounts(self.counts)
            self.table = kneser_ney(self.counts, self.discounts)
        else:
            self.table = additive(self.counts, c.k if c.smoothing == "add-k" else 0.0)
        return self

    def score(self, tokens: np.ndarray) -> np.ndarray:
        """Log P of each token given those before it.

        Args:
            tokens: ids, [N].

        Returns:
            float32 [N], natural logarithms; −inf where the model rules a token out (mle), 0 at a
            start mark, which is given and not predicted.

        Raises:
            WhenceError: the model hasn't been fitted, or an id is outside the vocabulary.
        """
        check_tokens(tokens, self.vocab_size)
        return score(self.fitted_table, tokens)

    def cross_entropy(self, tokens: np.ndarray) -> float:
        """Mean of −log P over the tokens of a text, start marks left out; nats per token."""
        predicted = len(tokens)
        if self.start is not None:
            predicted -= int(np.count_nonzero(tokens == self.start))
        return -float(self.score(tokens).sum(dtype=np.float64)) / max(1, predicted)

    def perplexity(self, tokens: np.ndarray) -> float:
        """exp(cross-entropy): among how many equally likely tokens the model is left to choose."""
        return float(np.exp(self.cross_entropy(tokens)))

    def log_probs(self, contexts: np.ndarray) -> np.ndarray:
        """Log P of each possible next token, for a batch of contexts.

        Args:
            contexts: ids, [B, C]; the last order − 1 of each row are used; C may be 0.

        Returns:
            float32 [B, V], natural logarithms.

        Raises:
            WhenceError: the model hasn't been fitted, or an id is outside the vocabulary.
        """
        rows = self._rows(contexts[:, -self.context_length :])
        if rows.shape[1] == 0:
            rows = np.full((len(rows), 1), NO_TOKEN)
        nodes, reach = contexts_after(self.fitted_table, rows)
        return distributions(self.fitted_table, nodes[:, -1], reach[:, -1])

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of the token after each position, in the place of logits.

        Args:
            tokens: ids, int64 [B, T].

        Returns:
            float32 [B, T, V]; position t is the distribution of token t + 1.

        Raises:
            WhenceError: the model hasn't been fitted, or an id is outside the vocabulary.
        """
        rows = self._rows(tokens.detach().cpu().numpy())
        B, T = rows.shape
        nodes, reach = contexts_after(self.fitted_table, rows)
        out = distributions(self.fitted_table, nodes.reshape(B * T, -1), reach.ravel())
        return torch.from_numpy(out).view(B, T, -1).to(tokens.device)

    def all_log_probs(
        self,
        tokens: np.ndarray,
        leave_one_out: bool = False,
        dtype: type[np.floating] = np.float32,
    ) -> np.ndarray:
        """Log P of every token of the vocabulary at each position, given the tokens before it.

        Args:
            tokens: ids, [N].
            leave_one_out: predict each token from counts that leave this very occurrence out; for
                the text that the model was fitted on, where the plain counts know the answer.
                Kneser–Ney only.
            dtype: of the result; float16 halves it.

        Returns:
            [N, V]; row i is the distribution of tokens[i].

        Raises:
            WhenceError: not fitted, an id outside the vocabulary, or leave_one_out where there
                are no Kneser–Ney counts.
        """
        check_tokens(tokens, self.vocab_size)
        table, without = self.fitted_table, self._without() if leave_one_out else None
        out = np.empty((len(tokens), self.vocab_size), dtype)
        for begin in range(0, len(tokens), ROWS):
            end = min(begin + ROWS, len(tokens))
            nodes, reach = contexts_of(table, tokens, begin, end)
            if without is None:
                out[begin:end] = distributions(table, nodes, reach)
            else:
                targets = tokens[begin:end].astype(np.uint32)
                out[begin:end] = without.log_probs(nodes, reach, targets)
        return out

    def leave_one_out(self, inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """As calling the model on windows of its training text, each target's own count left out.

        A model trained on top of this one needs it: plain counts have seen each target of the
        training text, so they look surer there than they are on text they haven't seen. Where the
        window's start cuts a context off, the longer n-gram is taken to have occurred once.

        Args:
            inputs: ids, [B, T].
            targets: ids, [B, T]; targets[b, t] is the token after inputs[b, t].

        Returns:
            float32 [B, T, V], log-probabilities.

        Raises:
            WhenceError: not fitted by counting with Kneser–Ney, or an id outside the vocabulary.
        """
        rows, wanted = self._rows(inputs), self._rows(targets)
        B, T = rows.shape
        nodes, reach = contexts_after(self.fitted_table, rows)
        without = self._without()
        out = without.log_probs(nodes.reshape(B * T, -1), reach.ravel(), wanted.ravel())
        return out.reshape(B, T, -1)

    def count(self, ngram: tuple[int, ...]) -> int:
        """How often the last token of `ngram` followed the ones before it in the training text.

        Raises:
            WhenceError: the model was not made by counting.
        """
        counts = self._counted()
        node = counts.node(ngram)
        return 0 if node is None else int(counts.count[node])

    def state(self) -> dict[str, np.ndarray]:
        """The fitted model as plain arrays, for a safetensors file; `load_state` reads them."""
        t = self.fitted_table
        arrays = {
            "bounds": t.bounds,
            "first": t.first,
            "token": t.token,
            "log_prob": t.log_prob,
            "log_backoff": t.log_backoff,
            "discounts": self.discounts,
        }
        return arrays if self.counts is None else {**arrays, "count": self.counts.count}

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """What `state_dict` holds: the fitted model, or nothing before it is fitted."""
        if self.table is not None:
            for name, array in self.state().items():
                destination[prefix + name] = torch.from_numpy(array)

    def load_state(self, state: Mapping[str, np.ndarray]) -> Self:
        """Takes over what `state` gave; the config and vocabulary must be those it was made with.

        Raises:
            WhenceError: an array is missing, or they belong to another order or vocabulary.
        """
        names = ("bounds", "first", "token", "log_prob", "log_backoff", "discounts")
        if missing := [name for name in names if name not in state]:
            raise WhenceError(f"The saved n-grams lack {', '.join(missing)}: the file is damaged.")
        bounds = state["bounds"]
        if bounds.ndim != 1 or len(bounds) < 3:
            raise WhenceError("The saved n-grams have no bounds: the file is damaged.")
        order, vocab_size = len(bounds) - 2, int(bounds[2] - bounds[1])
        if (order, vocab_size) != (self.config.order, self.vocab_size):
            raise WhenceError(
                f"The saved n-grams are of order {order} over {vocab_size} tokens, and the recipe "
                f"says {self.config.order} over {self.vocab_size}."
            )
        _check_tree(state, order, vocab_size)
        tree = (order, vocab_size, self.start, bounds, state["first"], state["token"])
        flat = self.config.smoothing == "add-k"
        self.table = Table(*tree, state["log_prob"], state["log_backoff"], flat)
        self.discounts = state["discounts"]
        self.counts, self._leave_one_out = None, None
        if "count" in state:
            self.counts = Counts(*tree, state["count"], Scratch(limit=1 << 62))
        return self

    @property
    def n_parameters(self) -> int:
        """How many n-grams, of every length, the model keeps."""
        return len(self.fitted_table.token) - 1

    @property
    def fitted_table(self) -> Table:
        """The probabilities.

        Raises:
            WhenceError: the model hasn't been fitted.
        """
        if self.table is None:
            raise WhenceError("This n-gram model hasn't counted anything yet: call fit(tokens).")
        return self.table

    def _counted(self) -> Counts:
        if self.counts is None:
            raise WhenceError(
                "This n-gram model has probabilities but no counts: fit one on the text itself."
            )
        return self.counts

    def _rows(self, tokens: np.ndarray) -> np.ndarray:
        if tokens.ndim != 2:
            raise WhenceError(
                f"The tokens have shape {tokens.shape}: give rows of ids, [batch, time]."
            )
        if tokens.size:
            check_tokens(tokens.ravel(), self.vocab_size)
        return tokens.astype(np.uint32)

    def _without(self) -> LeaveOneOut:
        if self.config.smoothing != "kneser-ney":
            raise WhenceError(
                "Leaving one out needs Kneser–Ney counts, and this model's smoothing is "
                f"{self.config.smoothing}."
            )
        if self._leave_one_out is None:
            self._leave_one_out = LeaveOneOut(self._counted(), self.fitted_table, self.discounts)
        return self._leave_one_out


def _check_tree(state: Mapping[str, np.ndarray], order: int, vocab_size: int) -> None:
    """Refuse arrays that would lead outside one another."""
    bounds, first, token = state["bounds"], state["first"], state["token"]
    n, contexts = int(bounds[-1]), int(bounds[order])
    sizes = {"first": contexts + 1, "token": n, "log_prob": n, "log_backoff": contexts, "count": n}
    kinds = {"first": np.uint32, "token": np.uint32, "count": np.uint32}
    kinds |= {"log_prob": np.float32, "log_backoff": np.float32}
    for name, size in sizes.items():
        if name in state and (state[name].shape != (size,) or state[name].dtype != kinds[name]):
            raise WhenceError(f"The saved n-grams have a wrong {name}: the file is damaged.")
    grows = bool((bounds[1:] >= bounds[:-1]).all() and (first[1:] >= first[:-1]).all())
    inside = bounds[0] == 0 and bounds[1] == 1 and first[0] == 1 and first[-1] == n
    if not (grows and inside and bool((token[1:] < vocab_size).all())):
        raise WhenceError("The saved n-grams aren't a tree: the file is damaged.")
    if state["discounts"].shape != (order, 4) or state["discounts"].dtype != np.float64:
        raise WhenceError("The saved n-grams have wrong discounts: the file is damaged.")
