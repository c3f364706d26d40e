"""A tokenizer inside a GGUF file, as llama.cpp reads it."""

from typing import Any

from whence.data import Tokenizer
from whence.data.tokenizers.bpe import byte_alphabet
from whence.errors import WhenceError
from whence.interop.pretokenizers import name_of
from whence.interop.tokenizers_out import chat_template, special_tokens, tokenizer_file


def write_tokenizer(writer: Any, gguf: Any, tokenizer: Tokenizer) -> None:
    """Write a tokenizer's tokens, merges, special tokens and template.

    Args:
        writer: a `gguf.GGUFWriter`.
        gguf: the package.
        tokenizer: byte-level BPE, bytes, or SentencePiece-style BPE.

    Raises:
        WhenceError: where llama.cpp has no such tokenizer.

    Example:
        >>> write_tokenizer(writer, gguf, tokenizer)  # doctest: +SKIP
    """
    if tokenizer.kind in ("chars", "words"):
        raise WhenceError(
            f"llama.cpp has no tokenizer of {tokenizer.kind}: export the model with --to hf, or "
            "train it with --data.tokenizer bpe."
        )
    file = tokenizer_file(tokenizer)
    model, kinds = file["model"], gguf.TokenType
    if model.get("type", "BPE") != "BPE":
        raise WhenceError(
            f"llama.cpp's causal models have no {model['type']} tokenizer: export with --to hf."
        )
    size = tokenizer.vocab_size
    tokens = [f"[PAD{i}]" for i in range(size)]  # ids that stand for nothing
    types = [kinds.UNUSED] * size
    for token, i in model["vocab"].items():
        tokens[i], types[i] = token, kinds.NORMAL
    for entry in file.get("added_tokens") or []:
        i = entry["id"]
        tokens[i] = entry["content"]
        types[i] = kinds.CONTROL if entry.get("special") else kinds.USER_DEFINED
    merges = [m.split(" ", 1) if isinstance(m, str) else m for m in model["merges"]]
    if model.get("byte_fallback"):
        _by_scores(writer, kinds, model, tokens, types, merges)
    else:
        # One token for each byte is the same with any rule of cutting.
        name = "gpt-2" if tokenizer.kind == "bytes" else name_of(file)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(name)
        # llama.cpp wants a merge: of two bytes that no UTF-8 has, it is never made.
        pairs = merges or [[byte_alphabet()[0xC0], byte_alphabet()[0xC1]]]
        writer.add_token_merges([f"{left} {right}" for left, right in pairs])
    writer.add_token_list(tokens)
    writer.add_token_types([int(t) for t in types])
    _write_special(writer, tokenizer, tokens)
    template = chat_template(tokenizer)
    if template:
        writer.add_chat_template(template)


def _by_scores(
    writer: Any, kinds: Any, model: dict, tokens: list[str], types: list, merges: list
) -> None:
    """SentencePiece-style: a piece's score says how early it is made."""
    rank: dict[str, int] = {}
    for number, (left, right) in enumerate(merges):
        rank.setdefault(left + right, number)
    last = float(-len(merges) - 1)
    scores = [float(-rank[token]) if token in rank else last for token in tokens]
    for i, token in enumerate(tokens):
        if len(token) == 6 and token.startswith("<0x"):
            types[i] = kinds.BYTE
        elif token == model.get("unk_token"):
            types[i] = kinds.UNKNOWN
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_scores(scores)


def _write_special(writer: Any, tokenizer: Tokenizer, tokens: list[str]) -> None:
    named = {name: tokens.index(t) for name, t in special_tokens(tokenizer).items() if t in tokens}
    ends = [*tokenizer.ends]
    end = named.get("eos_token") if named.get("eos_token") in ends else (ends or [None])[0]
    # llama.cpp takes token 11 for the end where it is told of none: name one that no text has.
    never = [i for i, token in enumerate(tokens) if token == "ÿ"] if not ends else []
    if end is None and never:
        end = never[0]
        named.setdefault("bos_token", end)
    if end is not None:
        writer.add_eos_token_id(end)
    if others := [i for i in ends if i != end]:
        writer.add_eot_token_id(others[0])
    begin = tokenizer.beginning[0] if tokenizer.beginning else named.get("bos_token")
    if begin is not None:
        writer.add_bos_token_id(begin)
    if "unk_token" in named:
        writer.add_unk_token_id(named["unk_token"])
    if "pad_token" in named:
        writer.add_pad_token_id(named["pad_token"])
    writer.add_add_bos_token(bool(tokenizer.beginning))
    first = tokenizer_file(tokenizer).get("normalizer") or {}
    steps = [first, *first.get("normalizers", [])]
    cut = tokenizer_file(tokenizer).get("pre_tokenizer") or {}
    prefixed = any(step.get("type") == "Prepend" for step in steps) or (
        cut.get("type") == "Metaspace" and cut.get("prepend_scheme", "always") != "never"
    )
    writer.add_add_space_prefix(prefixed)
