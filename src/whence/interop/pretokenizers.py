"""How text is cut before byte-pair encoding: llama.cpp's names, Hugging Face's rules."""

from typing import Any

from whence.data.tokenizers.strange import LLAMA3, QWEN2
from whence.errors import WhenceError

_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}


def _split(regex: str) -> dict[str, Any]:
    pattern = {"Regex": regex}
    return {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False},
            {**_BYTES, "use_regex": False},
        ],
    }


GPT2: dict[str, Any] = {**_BYTES, "use_regex": True}
_DIGITS = {"type": "Digits", "individual_digits": True}
RULES: dict[str, dict[str, Any]] = {
    "gpt-2": GPT2,
    "smollm": {"type": "Sequence", "pretokenizers": [_DIGITS, GPT2]},
    "llama-bpe": _split(LLAMA3),
    "qwen2": _split(QWEN2),
}
_ALIASES = {"llama3": "llama-bpe", "llama-v3": "llama-bpe", "deepseek-r1-qwen": "qwen2",
            "phi-2": "gpt-2"}  # fmt: skip
# What else belongs to the rules of that name.
WHOLE_WORDS_FIRST = ("llama-bpe",)  # a word that is in the vocabulary is taken without merges
NORMALIZERS = {"qwen2": {"type": "NFC"}}


def rule_of(name: str, where: str) -> tuple[str, dict[str, Any]]:
    """Return our name and the rule of one of llama.cpp's names.

    Raises:
        WhenceError: where the rule isn't known here.

    Example:
        >>> rule_of("llama3", "model.gguf")[0]
        'llama-bpe'
    """
    name = _ALIASES.get(name, name)
    if name not in RULES:
        raise WhenceError(
            f"{where} splits its text by the rule {name!r}: only {', '.join(RULES)} can be read."
        )
    return name, RULES[name]


def name_of(tokenizer: dict[str, Any]) -> str:
    """Return llama.cpp's name of the rule by which a tokenizer.json cuts text.

    Args:
        tokenizer: the file.

    Raises:
        WhenceError: where llama.cpp has none that is known here.

    Example:
        >>> name_of({"pre_tokenizer": GPT2})
        'gpt-2'
    """
    wanted = _essence(tokenizer.get("pre_tokenizer"))
    for name, rule in RULES.items():
        if _essence(rule) == wanted:
            return name
    raise WhenceError(
        "the tokenizer splits text by a rule that has no known name in llama.cpp: GGUF can be "
        f"written for {', '.join(RULES)}."
    )


def _essence(rule: Any) -> Any:
    """A rule without what changes no token."""
    if isinstance(rule, dict):
        if rule.get("type") == "Sequence" and len(rule.get("pretokenizers", [])) == 1:
            return _essence(rule["pretokenizers"][0])
        return {k: _essence(v) for k, v in rule.items() if k != "trim_offsets"}
    return [_essence(item) for item in rule] if isinstance(rule, list) else rule
