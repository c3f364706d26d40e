"""Inference: prompt → tokens → probabilities → pick one → append it → again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from whence.data.tokenizers.length import ending
from whence.errors import WhenceError
from whence.generate.inference import evaluating
from whence.generate.reader import CachedLanguageModel, LanguageModel, Reader
from whence.generate.sampling import Distribution, Sampling, filter_logits, pick
from whence.generate.text import TextStream
from whence.models.seq2seq.model import Seq2Seq

MOST_SAMPLES = 4096  # side by side; each has its own part of the cache


class Tokenizer(Protocol):
    """What generation asks of a tokenizer.

    Example:
        >>> from whence.data.tokenizers import train_chars
        >>> tokenizer: Tokenizer = train_chars(["a cat"])
        >>> tokenizer.decode(tokenizer.encode("act")), tokenizer.vocab_size
        ('act', 4)
    """

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        ...

    @property
    def beginning(self) -> tuple[int, ...]:
        """Ids that come before each text."""
        ...

    @property
    def ends(self) -> tuple[int, ...]:
        """Ids after which nothing follows."""
        ...

    def encode(self, text: str) -> Any:
        """Text to ids."""
        ...

    def decode(self, ids: Any) -> str:
        """Ids to text."""
        ...


@dataclass(frozen=True)
class Event:
    """One token that a model wrote, or the end of a sample.

    Attributes:
        sample: which of the samples, from 0.
        index: how many tokens of this sample came before.
        token_id: the token; None where the sample ends.
        text: what can be shown now. Joined, the texts of a sample are its text. It can lag behind
            the tokens by half a character, or by what could be a stop string.
        distribution: what the token was drawn from, when asked for.
        finished: why the sample ended ("length", or "stop" at a stop string or a token that ends a
            text), or None while it goes on.

    Example:
        >>> Event(sample=0, index=3, token_id=None, text="", finished="length").finished
        'length'
    """

    sample: int
    index: int
    token_id: int | None
    text: str
    distribution: Distribution | None = None
    finished: Literal["length", "stop"] | None = None


def stream(
    model: LanguageModel | CachedLanguageModel,
    tokenizer: Tokenizer,
    prompt: str | Sequence[int] = "",
    *,
    max_tokens: int = 200,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    seed: int = 0,
    stop: Sequence[str] = (),
    n_samples: int = 1,
    show_distributions: bool = False,
) -> Iterator[Event]:
    """Write on from a prompt, token by token.

    The same seed gives the same text, however it is read. The model's weights don't change.

    Args:
        model: tokens [B, T] → logits [B, T, V]; one with `new_cache` reads each token once.
        tokenizer: the one that the model was trained with.
        prompt: the beginning, as text or as ids; an empty one stands for a line break (or the
            first token, where the tokenizer has none). Only its last context_length tokens are
            read.
        max_tokens: how many tokens to write.
        temperature: see `Sampling`, as top_k, top_p and min_p.
        top_k: keep the k likeliest.
        top_p: keep the likeliest that add up to p.
        min_p: drop those less likely than min_p times the likeliest.
        seed: of the draws.
        stop: strings that end a sample; they aren't part of its text.
        n_samples: how many texts to write side by side.
        show_distributions: put into each event what its token was drawn from.

    Yields:
        An `Event` for each token of each sample, and one at the end of each sample.

    Raises:
        WhenceError: a setting out of range, a prompt that the tokenizer can't read, or logits that
            are not finite.

    Example:
        >>> from whence.data.tokenizers.chars import CharTokenizer
        >>> from whence.models import GPT, GPTConfig
        >>> tokenizer = CharTokenizer("Once upon a time")
        >>> model = GPT(GPTConfig(n_layers=1), tokenizer.vocab_size)
        >>> for event in stream(model, tokenizer, "Once", max_tokens=3, temperature=0):
        ...     print(repr(event.text), event.finished)
        ' ' None
        ' ' None
        ' ' None
        '' length
    """
    sampling = Sampling(temperature, top_k, top_p, min_p)
    if not isinstance(prompt, str) and not prompt:
        raise WhenceError("The prompt has no tokens in it: give at least one.")
    for name, count in (("max_tokens", max_tokens), ("n_samples", n_samples)):
        if count < 1:
            raise WhenceError(f"{name} is {count}: it must be 1 or more.")
    if n_samples > MOST_SAMPLES:
        raise WhenceError(f"n_samples is {n_samples}: it must be at most {MOST_SAMPLES} at once.")
    if not 0 <= seed < 2**63:
        raise WhenceError(f"seed is {seed}: it must be 0 or more, below 2^63.")
    ids = encode_prompt(tokenizer, prompt, model.context_length)
    device = device_of(model)
    ids = ids[-model.context_length :]
    tokens = torch.tensor([ids] * n_samples, dtype=torch.long, device=device)  # [B, T]
    generator = torch.Generator(device).manual_seed(seed)
    return _stream(
        model, tokenizer, tokens, max_tokens, sampling, generator, stop, show_distributions
    )


def _stream(
    model: LanguageModel | CachedLanguageModel,
    tokenizer: Tokenizer,
    tokens: Tensor,
    max_tokens: int,
    sampling: Sampling,
    generator: torch.Generator,
    stop: Sequence[str],
    show_distributions: bool,
) -> Iterator[Event]:
    texts = {sample: TextStream(tokenizer.decode, stop) for sample in range(len(tokens))}
    ends = set(tokenizer.ends)
    if isinstance(model, Seq2Seq):
        ends.add(model.config.end)  # its target is whole there
    with evaluating(model):
        reader = Reader(model, tokens, tokens.shape[1] + max_tokens)
        for index in range(max_tokens):
            logits = reader.logits()  # [B, V]
            if bool((logits.isnan() | logits.isposinf()).any()):
                raise WhenceError(
                    "the model's logits are not finite, so it can't write: its training diverged; "
                    "use an earlier state (--checkpoint N), or train with a lower learning rate."
                )
            picked = pick(filter_logits(logits, sampling), sampling, generator)  # [B]
            reader.append(picked)
            ids = picked.tolist()
            for sample, text in list(texts.items()):
                ended, drawn = ids[sample] in ends, None
                shown = text.finish() if ended else text.push(ids[sample])
                if show_distributions:
                    drawn = Distribution.of(logits[sample], sampling, ids[sample])
                yield Event(sample, index, ids[sample], shown, drawn)
                if ended or text.stopped is not None:
                    del texts[sample]
                    yield Event(sample, index + 1, None, "", finished="stop")
            if not texts:
                return
        for sample, text in texts.items():
            shown = text.finish()
            why: Literal["length", "stop"] = "length" if text.stopped is None else "stop"
            yield Event(sample, max_tokens, None, shown, finished=why)


def generate(
    model: LanguageModel | CachedLanguageModel,
    tokenizer: Tokenizer,
    prompt: str | Sequence[int] = "",
    *,
    n_samples: int = 1,
    **settings: Any,
) -> list[str]:
    """What a model writes on from a prompt, as n_samples whole texts without the prompt.

    Args:
        model: see `stream`, as for all else.
        tokenizer: the one that the model was trained with.
        prompt: the beginning.
        n_samples: how many texts.
        **settings: max_tokens, temperature, top_k, top_p, min_p, seed, stop as in `stream`.

    Raises:
        WhenceError: as `stream`.

    Example:
        >>> from whence.data.tokenizers.chars import CharTokenizer
        >>> from whence.models import GPT, GPTConfig
        >>> tokenizer = CharTokenizer("Once upon a time")
        >>> model = GPT(GPTConfig(n_layers=1), tokenizer.vocab_size)
        >>> generate(model, tokenizer, "Once", max_tokens=3, temperature=0)
        ['   ']
    """
    texts = [""] * n_samples
    for event in stream(model, tokenizer, prompt, n_samples=n_samples, **settings):
        texts[event.sample] += event.text
    return texts


def encode_prompt(
    tokenizer: Tokenizer, prompt: str | Sequence[int], most: int | None = None
) -> list[int]:
    """The ids of the prompt, with what comes before each text.

    An empty one is that alone; where nothing does, a line break, or else the first token.

    Args:
        tokenizer: whose ids.
        prompt: text, or ids, which stay as they are.
        most: how many of the last ids are read; of a text that has many more, only the end is cut
            into tokens.

    Raises:
        WhenceError: the tokenizer can't read the prompt.

    Example:
        >>> from whence.data.tokenizers import train_chars
        >>> encode_prompt(train_chars(["abc"]), "cab")
        [2, 0, 1]
    """
    if not isinstance(prompt, str):
        return [int(i) for i in prompt]
    beginning = [*tokenizer.beginning]
    if prompt:
        prompt = prompt if most is None else ending(tokenizer, prompt, most)
        ids = [int(i) for i in tokenizer.encode(prompt)]
        if not ids:
            raise WhenceError(f"The prompt {prompt!r} has no tokens in it: give it a word.")
        return beginning + ids
    if beginning:
        return beginning
    try:
        return [int(i) for i in tokenizer.encode("\n")] or [0]
    except WhenceError:
        return [0]


def device_of(model: object) -> torch.device:
    """Where a model's parameters are; the CPU for one without.

    Args:
        model: any object.

    Example:
        >>> device_of(nn.Linear(2, 2)).type
        'cpu'
    """
    if isinstance(model, nn.Module):
        return next((p.device for p in model.parameters()), torch.device("cpu"))
    return torch.device("cpu")
