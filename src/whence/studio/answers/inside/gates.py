"""What a recurrent module computes for each token, a row for each: above all its gates."""

from typing import Any

import numpy as np

from whence.errors import WhenceError
from whence.studio.answers.inside.tiles import TOKENS, WIDE, ribbon
from whence.why import Trace

# A fused LSTM's formula names its gates; a GRU's are the operations of each token, in order.
LSTM = {
    "i": "input gate i",
    "f": "forget gate f",
    "g": "candidate g",
    "o": "output gate o",
    "cell": "cell c",
}
GRU = {"sigmoid": ("reset gate r", "update gate z"), "tanh": ("candidate n",)}


def gates(t: Trace, path: str, example: int) -> list[dict[str, Any]]:
    """Give the gates of a fused LSTM or GRU, a row for each token; none of another module."""
    kind = type(t.live.modules.get(path)).__name__
    whole = ribbon(t, t[path], example, TOKENS) if path in t else None
    if whole is None or not ("LSTM" in kind or "GRU" in kind):
        return []
    count, labels = t[path].shape[1], whole["row_labels"]
    rows: list[dict[str, Any]] = []

    def add(base: str, words: str, first: int, every: int) -> None:
        names = [numbered(f"{path}.{base}", first + every * k) for k in range(count)]
        try:
            rows.append({**_rows(t, names[0], names, example, labels), "words": words})
        except (WhenceError, IndexError):
            return  # not that kind: a GRU whose kernel names its numbers otherwise

    if "LSTM" in kind:
        for base, words in LSTM.items():
            add(base, words, 1, 1)
    else:
        for base, several in GRU.items():
            for k, words in enumerate(several):
                add(base, words, k + 1, len(several))
    return rows


def numbered(name: str, k: int) -> str:
    """The k-th tensor of a name, from 1: `h`, `h#2`."""
    return name if k == 1 else f"{name}#{k}"


def over_time(t: Trace, base: str, names: list[str], example: int) -> dict[str, Any] | None:
    """What a recurrent module computed for each token: one row for each."""
    ids = t.labels.ids_of(t[names[0]].ref)
    if ids is None or len(names) != ids.shape[1]:
        return None
    decode = t.labels.decode
    tokens = ids[min(example, len(ids) - 1)]
    return _rows(t, base, names, example, decode and [decode(int(token)) for token in tokens])


def _rows(
    t: Trace, base: str, names: list[str], example: int, labels: list[str] | None
) -> dict[str, Any]:
    columns = t[names[0]].shape[1]
    at = example * columns + np.arange(min(columns, WIDE))
    values = np.stack([t[name].ref.gather(at) for name in names[:TOKENS]])
    cut = {
        "name": base,
        "names": names[:TOKENS],
        "opens": True,
        "shape": list(t[names[0]].shape),
        "dtype": str(t[names[0]].ref.dtype).removeprefix("torch."),
        "leads": 1,
        "lead": 0,
        "index": [],
        "rows": len(names),
        "columns": columns,
        "first": example * columns,
        "top": 0,
        "left": 0,
        "values": values.astype(np.float32),
        "row_labels": labels and labels[: len(values)],
        "column_labels": None,
    }
    return {"name": base, "role": "", "tile": cut}
