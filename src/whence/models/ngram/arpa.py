r"""The ARPA format: n-gram models as text, as KenLM, SRILM and others read and write them.

A file lists, for each length, every n-gram with its log₁₀ probability and, for those that are
contexts, the log₁₀ weight of backing off. Words are parted by spaces, so a token with white space
in it (a space as a character, a newline) is written with escapes, `\u0020` and `\u000a`; a
backslash is doubled. The tokens <BOS>, <EOS> and <UNK> are <s>, </s> and <unk> in the file.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from whence.errors import WhenceError
from whence.models.ngram.backoff import Table
from whence.models.ngram.model import NGram, NGramConfig

NEVER = -99.0  # the format's log₁₀ of 0
IN_FILE = {"<BOS>": "<s>", "<EOS>": "</s>", "<UNK>": "<unk>"}
IN_WHENCE = {there: here for here, there in IN_FILE.items()}


def write_arpa(model: NGram, vocabulary: Sequence[str], path: Path) -> None:
    """Writes a fitted n-gram model as an ARPA file.

    The file gives the model's probabilities for every context that is long enough, and the shorter
    ones at a text's start too, except with add-k: ARPA has one number for an n-gram whether it is
    used itself or backed off to, and add-k needs the uniform distribution there.

    Args:
        model: fitted.
        vocabulary: the text of each token id; all different, none empty.
        path: of the file to write; it is replaced if it is there.

    Raises:
        WhenceError: the model isn't fitted, or the vocabulary isn't its own.

    Example:
        >>> write_arpa(model, tokenizer.vocabulary, Path("model.arpa"))  # doctest: +SKIP

    Source: the format is that of the CMU–Cambridge toolkit, described in SRILM's ngram-format(5).
    """
    table = model.fitted_table
    words = [_written(word) for word in vocabulary]
    if len(words) != model.vocab_size or len(set(words)) != len(words) or "" in words:
        raise WhenceError(
            f"The vocabulary has {len(set(words) - {''})} different tokens, and the model "
            f"{model.vocab_size}: give one text for each token id."
        )
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("\\data\\\n")
        for k in range(1, table.order + 1):
            file.write(f"ngram {k}={table.bounds[k + 1] - table.bounds[k]}\n")
        contexts = [""]
        for k in range(1, table.order + 1):
            file.write(f"\n\\{k}-grams:\n")
            ngrams = _ngrams(table, k, contexts, words)
            file.writelines(_lines(table, k, ngrams))
            contexts = ngrams
        file.write("\n\\end\\\n")


def read_arpa(path: Path, vocabulary: Sequence[str] | None = None) -> tuple[NGram, list[str]]:
    r"""Reads an ARPA file, from Whence or another toolkit.

    Args:
        path: of the file.
        vocabulary: the tokens in order of their ids; by default, as the file lists them. A token
            that the file hasn't got has probability 0.

    Returns:
        The model and its vocabulary. If the file has <s>, that is the start mark. The model has
        probabilities and no counts, so it can't leave one out.

    Raises:
        WhenceError: the file isn't ARPA, is cut short, lacks an n-gram's context, or has a word
            that isn't in the vocabulary; says in which line.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> lines = ["\\data\\", "ngram 1=2", "", "\\1-grams:", "-0.5\ta", "-0.2\tb", "", "\\end\\"]
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "a.arpa")
        ...     _ = path.write_text("\n".join(lines), encoding="utf-8")
        ...     model, vocabulary = read_arpa(path)
        >>> model.score(np.array([0])).round(2), vocabulary
        (array([-1.15], dtype=float32), ['a', 'b'])
    """
    sections = _sections(path)
    order = len(sections)
    listed = [_read(words[0]) for _, words, _, _ in sections[0]]
    names = listed if vocabulary is None else list(vocabulary)
    ids = {name: i for i, name in enumerate(names)}
    if len(ids) != len(names) or not names:
        raise WhenceError(f"{path}: the vocabulary is empty or names a token twice.")
    start = ids.get("<BOS>")
    if "<BOS>" not in listed:
        start = None
    tree = _Tree(len(names), path)
    for section in sections:
        tree.add(section, ids)
    model = NGram(NGramConfig(order=order), len(names), start)
    model.table = tree.table(start)
    return model, names


class _Tree:
    """Grows the levels of a table from the sections of a file."""

    def __init__(self, vocab_size: int, path: Path):
        self.vocab_size = vocab_size
        self.path = path
        self.bounds = [0, 1]
        self.first: list[np.ndarray] = []
        self.token = [np.zeros(1, np.uint32)]
        self.log_prob = [np.zeros(1, np.float32)]
        self.log_backoff = [np.zeros(1, np.float32)]

    def add(self, section: list[tuple[int, list[str], float, float]], ids: dict[str, int]) -> None:
        k = len(self.bounds) - 1
        tokens = np.zeros((len(section), k), np.int64)
        for row, (line, words, _, _) in enumerate(section):
            for column, word in enumerate(words):
                token = ids.get(_read(word))
                if token is None:
                    raise WhenceError(
                        f"{self.path}, line {line}: {word!r} isn't in the vocabulary."
                    )
                tokens[row, column] = token
        values = np.array([entry[2:] for entry in section]).reshape(-1, 2)
        order = np.lexsort(tokens.T[::-1])
        tokens, values = tokens[order], values[order]
        if k == 1:
            tokens, values = self._whole_vocabulary(tokens, values)
        parents = self._parents(tokens[:, :-1], [section[i][0] for i in order])
        low, high = self.bounds[-2], self.bounds[-1]
        degrees = np.bincount(parents - low, minlength=high - low)
        self.first.append((high + np.cumsum(degrees) - degrees).astype(np.uint32))
        self.bounds.append(high + len(tokens))
        self.token.append(tokens[:, -1].astype(np.uint32))
        self.log_prob.append(values[:, 0].astype(np.float32))
        self.log_backoff.append(values[:, 1].astype(np.float32))

    def table(self, start: int | None) -> Table:
        return Table(
            order=len(self.bounds) - 2,
            vocab_size=self.vocab_size,
            start=start,
            bounds=np.array(self.bounds),
            first=np.append(np.concatenate(self.first), np.uint32(self.bounds[-1])),
            token=np.concatenate(self.token),
            log_prob=np.concatenate(self.log_prob),
            log_backoff=np.concatenate(self.log_backoff[:-1]),
        )

    def _whole_vocabulary(
        self, tokens: np.ndarray, values: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        every = np.tile([-np.inf, 0.0], (self.vocab_size, 1))
        every[tokens[:, 0]] = values
        return np.arange(self.vocab_size)[:, None], every

    def _parents(self, contexts: np.ndarray, lines: list[int]) -> np.ndarray:
        """The node of each context: one step of the tree for each of its columns."""
        node = np.zeros(len(contexts), np.int64)
        for depth in range(contexts.shape[1]):
            low, high = self.bounds[depth + 1], self.bounds[depth + 2]
            parent = np.repeat(
                np.arange(self.bounds[depth], low),
                np.diff(np.append(self.first[depth], high)),
            )
            keys = parent * self.vocab_size + self.token[depth + 1]
            wanted = node * self.vocab_size + contexts[:, depth]
            place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            missing = np.flatnonzero(keys[place] != wanted) if len(keys) else np.arange(len(node))
            if len(missing):
                raise WhenceError(
                    f"{self.path}, line {lines[missing[0]]}: the n-gram's context isn't in the "
                    "file as an n-gram of its own."
                )
            node = low + place
        return node


def _sections(path: Path) -> list[list[tuple[int, list[str], float, float]]]:
    """For each order, the entries: line number, words, ln probability, ln back-off weight."""
    sizes: list[int] = []
    sections: list[list[tuple[int, list[str], float, float]]] = []
    ended = False
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                line = line.strip("\r\n \t")
                if size := re.fullmatch(r"ngram\s+(\d+)\s*=\s*(\d+)", line):
                    sizes.append(int(size[2]))
                elif line == "\\end\\":
                    ended = True
                    break
                elif re.fullmatch(r"\\\d+-grams:", line):
                    sections.append([])
                elif line and sections:
                    sections[-1].append(_entry(path, number, line, len(sections)))
    except FileNotFoundError:
        raise WhenceError(f"{path} isn't there: give the path of an ARPA file.") from None
    except UnicodeDecodeError:
        raise WhenceError(f"{path} isn't UTF-8 text, so it isn't an ARPA file.") from None
    found = [len(section) for section in sections]
    if not sizes or not ended or found != sizes:
        raise WhenceError(
            f"{path} isn't a complete ARPA file: it announces {sizes or 'no'} n-grams by length, "
            f"has {found}, and its end mark is {'there' if ended else 'missing'}."
        )
    return sections


def _entry(path: Path, number: int, line: str, k: int) -> tuple[int, list[str], float, float]:
    fields = line.split()
    try:
        if len(fields) not in (k + 1, k + 2):
            raise ValueError
        backoff = float(fields[k + 1]) if len(fields) == k + 2 else 0.0
        return number, fields[1 : k + 1], _natural(float(fields[0])), _natural(backoff)
    except ValueError:
        raise WhenceError(
            f"{path}, line {number}: expected a probability, {k} words and perhaps a back-off "
            f"weight, found {line!r}."
        ) from None


def _natural(log10: float) -> float:
    return -np.inf if log10 <= NEVER else log10 * np.log(10)


def _log10(natural: float) -> float:
    return max(NEVER, natural / np.log(10))


def _ngrams(table: Table, k: int, contexts: list[str], words: list[str]) -> list[str]:
    """The text of each k-gram, in order of its node."""
    nodes = range(table.bounds[k - 1], table.bounds[k])
    return [
        f"{context} {words[token]}" if context else words[token]
        for node, context in zip(nodes, contexts, strict=True)
        for token in table.token[table.first[node] : table.first[node + 1]]
    ]


def _lines(table: Table, k: int, ngrams: list[str]) -> Iterator[str]:
    low, shorter = int(table.bounds[k]), k < table.order
    for node, ngram in enumerate(ngrams, start=low):
        log_prob = float(table.log_prob[node])
        backoff = float(table.log_backoff[node]) if shorter else 0.0
        if table.flat and shorter:  # only the longest contexts say anything
            log_prob = float(table.log_uniform) if np.isfinite(log_prob) else log_prob
            backoff = backoff if k == table.order - 1 else 0.0
        ending = f"\t{_log10(backoff):.7g}\n" if shorter else "\n"
        yield f"{_log10(log_prob):.7g}\t{ngram}{ending}"


def _written(word: str) -> str:
    if word in IN_FILE:
        return IN_FILE[word]
    escaped = word.replace("\\", "\\\\")
    return re.sub(r"\s", lambda space: f"\\u{ord(space[0]):04x}", escaped)


def _read(word: str) -> str:
    if word in IN_WHENCE:
        return IN_WHENCE[word]
    return re.sub(
        r"\\(\\|u[0-9a-f]{4})",
        lambda found: "\\" if found[1] == "\\" else chr(int(found[1][1:], 16)),
        word,
    )
