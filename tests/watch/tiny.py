"""A tiny GPT-2, a tokenizer and a data set, made here: nothing is downloaded."""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

WORDS = [
    "the", "cat", "sat", "on", "mat", "dog", "ran", "to", "a", "red", "blue", "big", "hat", ".",
    "and", "saw",
]  # fmt: skip
SPECIAL = ["<pad>", "<eos>", "<unk>"]


def tokenizer():
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def gpt2():
    torch.manual_seed(0)
    sizes = {"vocab_size": len(SPECIAL) + len(WORDS), "n_positions": 16, "n_embd": 16}
    return GPT2LMHeadModel(
        GPT2Config(**sizes, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=1, pad_token_id=0)
    )


def sentence(row, words=8):
    """The sentence of a row; no two are alike."""
    generator = torch.Generator().manual_seed(row)
    picks = torch.randint(len(WORDS), (words,), generator=generator)
    return " ".join(WORDS[i] for i in picks)


def build():
    """As `whence why RUN --model tests.watch.tiny:build` calls it."""
    return gpt2()


def same(a, b):
    """Whether two models have the same bits."""
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)
