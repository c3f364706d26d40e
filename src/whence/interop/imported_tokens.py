"""A tokenizer out of what files of others say, with one sentence where they say nonsense."""

from collections.abc import Mapping
from typing import Any

from whence.data.tokenizers.imported import ImportedTokenizer
from whence.errors import WhenceError
from whence.generate.sampling import Sampling
from whence.interop.reading import told_of

BROKEN = (KeyError, TypeError, AttributeError, ValueError, IndexError, RecursionError)


def made_tokenizer(record: Mapping[str, Any], where: object) -> ImportedTokenizer:
    """Return the tokenizer of a record; see `ImportedTokenizer`.

    Args:
        record: what the files say.
        where: the file, for errors.

    Raises:
        WhenceError: where the record makes no tokenizer, or one whose rules take for ever.
    """
    try:
        with told_of(where):
            made = ImportedTokenizer(record)
            made.probe()
            return made
    except BROKEN as error:
        raise WhenceError(
            f"{where} is damaged: its tokenizer has something missing or wrong ({error})."
        ) from error


def advice(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of generation that a model's makers advise, those that can be followed.

    Args:
        told: a generation_config.json, where 0 stands for a filter that is off.

    Example:
        >>> advice({"temperature": 0.2, "top_k": 0, "top_p": 7})
        {'temperature': 0.2}
    """
    kept: dict[str, Any] = {}
    numbers: dict[str, Any] = {k: v for k, v in told.items() if type(v) in (int, float)}
    for name in ("temperature", "top_k", "top_p", "min_p"):
        try:
            if name in numbers:
                Sampling(**{name: numbers[name]})
                kept[name] = numbers[name]
        except WhenceError:  # advice that makes no sense is no reason to refuse the model
            continue
    if 0 < numbers.get("repetition_penalty", 0) < 100:
        kept["repetition_penalty"] = numbers["repetition_penalty"]
    return kept
