"""Writing: streams, seeds, stops, windows, modes."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from whence.data.tokenizers import train_bpe
from whence.errors import WhenceError
from whence.generate import generate, inference, stream
from whence.generate.reader import Reader
from whence.generate.text import TextStream
from whence.models import GPT, GPTConfig, gpt2_config, llama_config, modern_config


class Characters:
    """The 27 first characters from a, and a line break."""

    characters = "\nabcdefghijklmnopqrstuvwxyz"
    vocab_size = 27
    beginning = ends = ()

    def encode(self, text):
        if bad := set(text) - set(self.characters):
            raise WhenceError(f"{bad.pop()!r} is not a character of this tokenizer.")
        return [self.characters.index(c) for c in text]

    def decode(self, ids):
        return "".join(self.characters[i] for i in ids)


class Bytes:
    vocab_size = 256
    beginning = ends = ()

    def encode(self, text):
        return list(text.encode())

    def decode(self, ids):
        return bytes(ids).decode("utf-8", "replace")


class Words:
    """Decodes with spaces between, as word tokenizers do."""

    vocab_size = 3
    beginning = ends = ()
    words = ("to", "be", "or")

    def encode(self, text):
        return [self.words.index(word) for word in text.split()]

    def decode(self, ids):
        return " ".join(self.words[i] for i in ids)


class Uncached:
    """A model without a cache: the next token is one more than the last; says what it read."""

    context_length = 4

    def __init__(self):
        self.read = []

    def __call__(self, tokens):
        self.read.append(tokens.tolist())
        return 10.0 * torch.eye(27)[(tokens + 1) % 27]


@pytest.fixture(params=[gpt2_config, modern_config, llama_config])
def model(request):
    torch.manual_seed(0)
    form = request.param(n_layers=2, n_heads=2, d_model=16, context_length=8, zero_head=False)
    return GPT(form, 27)


def test_stream_and_whole_text_agree_and_seeds_count(model):
    settings = {"max_tokens": 30, "n_samples": 3, "temperature": 0.9, "top_k": 20}
    texts = generate(model, Characters(), "ab", seed=5, **settings)
    streamed = ["", "", ""]
    for event in stream(model, Characters(), "ab", seed=5, **settings):
        streamed[event.sample] += event.text
    assert texts == streamed
    assert [len(text) for text in texts] == [30, 30, 30]
    assert len(set(texts)) == 3
    assert texts == generate(model, Characters(), "ab", seed=5, **settings)
    assert texts != generate(model, Characters(), "ab", seed=6, **settings)


def test_a_window_larger_than_any_memory_takes_what_the_text_needs():
    torch.manual_seed(0)
    sizes = {"n_layers": 2, "n_heads": 2, "d_model": 16}
    near = GPT(llama_config(**sizes, context_length=64), 27)
    far = GPT(llama_config(**sizes, context_length=2**50), 27)
    far.load_state_dict(near.state_dict())
    texts = [generate(m, Characters(), "abc", max_tokens=30, temperature=0) for m in (near, far)]
    assert texts[0] == texts[1]
    with pytest.raises(WhenceError, match="no memory for the keys and values"):
        far.new_cache(1)


def test_full_window_starts_again_with_its_last_half(model):
    """Greedy text equals what the whole forward pass says on the context that the page names."""
    text = generate(model, Characters(), "abc", max_tokens=25, temperature=0)[0]
    ids = Characters().encode("abc")
    length = len(ids)  # tokens that the model sees
    with inference(model), torch.inference_mode():
        for _ in range(25):
            if length > 8:
                length = 4
            ids.append(model(torch.tensor([ids[-length:]]))[0, -1].argmax().item())
            length += 1
    assert text == Characters().decode(ids[3:])


def test_logits_of_a_reader_are_the_full_forwards(model):
    torch.manual_seed(1)
    prompt = torch.randint(0, 27, (2, 12))  # longer than the window
    reader, seen = Reader(model, prompt), prompt[:, -8:]
    with torch.inference_mode():
        for _ in range(20):
            torch.testing.assert_close(reader.logits(), model(seen)[:, -1], rtol=1e-5, atol=1e-5)
            new = torch.randint(0, 27, (2,))
            reader.append(new)
            seen = torch.cat((seen, new[:, None]), 1)
            seen = seen if seen.shape[1] <= 8 else seen[:, -4:]


def test_model_without_cache_reads_its_last_window():
    model = Uncached()
    assert generate(model, Characters(), "a", max_tokens=6, temperature=0) == ["bcdefg"]
    assert [len(tokens[0]) for tokens in model.read] == [1, 2, 3, 4, 4, 4]
    assert model.read[-1] == [[3, 4, 5, 6]]


def test_generating_changes_no_weight_and_restores_modes(model):
    before = {key: x.clone() for key, x in model.state_dict().items()}
    model.train()
    model.blocks[0].eval()
    generate(model, Characters(), "abc", max_tokens=20)
    assert all(torch.equal(x, before[key]) for key, x in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert model.training
    assert model.blocks[1].training
    assert not model.blocks[0].training
    events = stream(model, Characters(), "abc", max_tokens=20)
    next(events)
    assert not model.training
    assert not torch.is_inference_mode_enabled()  # the caller's own code isn't affected
    events.close()
    assert model.training


def test_distributions_on_request(model):
    events = list(stream(model, Characters(), "a", max_tokens=5, top_k=3, show_distributions=True))
    for event in events[:-1]:
        kept = [c for c in event.distribution.top(27) if c.after]
        assert len(kept) == 3
        assert event.token_id in {c.token_id for c in kept}
    assert events[-1].finished == "length"
    assert events[-1].token_id is None
    assert next(stream(model, Characters(), "a")).distribution is None


def test_stop_strings_across_tokens():
    events = list(stream(Uncached(), Characters(), "a", temperature=0, stop=["fgh", "zz"]))
    assert "".join(e.text for e in events) == "bcde"
    assert events[-1].finished == "stop"
    assert [e.text for e in events] == ["b", "c", "d", "e", "", "", "", ""]
    # one that only seemed to come
    assert generate(Uncached(), Characters(), "a", temperature=0, max_tokens=6, stop=["fgx"]) == [
        "bcdefg"
    ]


def test_samples_end_one_by_one(model):
    settings = {"n_samples": 4, "max_tokens": 40, "seed": 3}
    whole = generate(model, Characters(), "a", **settings)
    stopped = generate(model, Characters(), "a", stop=["b", "xy"], **settings)
    for text, full in zip(stopped, whole, strict=True):
        ends = [full.index(s) for s in ("b", "xy") if s in full]
        assert text == full[: min(ends, default=40)]


def test_an_empty_prompt_is_a_line_break(model):
    tokens = {"max_tokens": 10, "seed": 2}
    assert generate(model, Characters(), **tokens) == generate(model, Characters(), "\n", **tokens)
    assert generate(Uncached(), Words(), temperature=0, max_tokens=2) == ["be or"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"n_samples": 0}, "n_samples is 0"),
        ({"temperature": -1}, "temperature is -1"),
        ({"top_p": 0}, "top_p is 0"),
        ({"prompt": "a%"}, "'%' is not a character"),
    ],
)
def test_errors_come_at_once(model, settings, words):
    with pytest.raises(WhenceError, match=words):
        stream(model, Characters(), **{"prompt": "a", **settings})


def test_of_a_long_prompt_only_the_end_is_cut_into_tokens():
    """A book as a prompt isn't cut as a whole, and what is written is the same."""
    tokenizer = train_bpe(["low lower lowest, new newer newest; " * 9], 300)
    drawn = GPT(GPTConfig(n_layers=1, context_length=8, zero_head=False), tokenizer.vocab_size)
    prompt = "new lower, newest low; lower " * 999
    want = generate(drawn, tokenizer, tokenizer.encode(prompt).tolist(), max_tokens=9, seed=1)
    cut, encode = [], tokenizer.encode
    tokenizer.encode = lambda text: cut.append(text) or encode(text)
    assert generate(drawn, tokenizer, prompt, max_tokens=9, seed=1) == want
    assert 8 <= len("".join(cut)) <= 16 * tokenizer.longest


def test_a_prompt_without_tokens(model):
    with pytest.raises(WhenceError, match="no tokens"):
        stream(model, Words(), "  ")


@settings(deadline=None, max_examples=150)
@given(st.text(), st.lists(st.text(min_size=1, max_size=3), max_size=3))
def test_bytes_stream_as_whole_characters(text, stop):
    stream = TextStream(Bytes().decode, stop)
    pieces = [stream.push(byte) for byte in text.encode()]
    pieces.append(stream.finish())
    at = min((text.index(s) for s in stop if s in text), default=len(text))
    assert "".join(pieces).rstrip("\ufffd") == text[:at].rstrip("\ufffd")
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


@settings(deadline=None, max_examples=150)
@given(st.binary())
def test_any_bytes_come_out_as_the_decoder_has_them_but_for_half_a_character_at_the_end(data):
    stream = TextStream(Bytes().decode)
    shown = "".join([*(stream.push(byte) for byte in data), stream.finish()])
    assert shown.rstrip("\ufffd") == Bytes().decode(list(data)).rstrip("\ufffd")


def test_words_come_with_their_spaces():
    stream = TextStream(Words().decode, stop=["be or"])
    assert [stream.push(i) for i in (0, 1, 1, 0, 1, 2)] == ["to", " ", "be ", "be to", " ", ""]
    assert stream.stopped == "be or"
    words = TextStream(Words().decode)
    pieces = list(itertools.chain((words.push(i) for i in (0, 1, 2)), [words.finish()]))
    assert pieces == ["to", " be", " or", ""]
