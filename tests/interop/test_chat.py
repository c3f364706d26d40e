"""Talking to a model, and what made a token of its answer likely."""

import builtins
import itertools
from types import SimpleNamespace

import pytest
import torch

from tests.cli.command import whence
from tests.interop.test_gguf import FORMS, model
from tests.interop.test_server import chatty
from whence.data.tokenizers.imported import ImportedTokenizer
from whence.errors import WhenceError
from whence.generate import generate
from whence.interop.talk.chat import Chat
from whence.interop.talk.conversation import conversation_ids
from whence.interop.talk.spoken import spoken_for
from whence.models import modern_config
from whence.why import trace

MORE = {
    "norms without a weight": modern_config(n_layers=2, n_heads=2, d_model=32, zero_head=False),
    "no norm": modern_config(n_layers=2, n_heads=2, d_model=32, zero_head=False, norm="none"),
}


@pytest.mark.parametrize("name", [*FORMS, *MORE])
def test_the_shares_of_a_logit_add_up_to_it(name):
    ours = model({**FORMS, **MORE}[name], 60)
    ids = torch.randint(0, 60, (20,)).tolist()
    found = spoken_for(ours, ids, 7)
    with torch.inference_mode():
        want = ours(torch.tensor([ids]))[0, -1, 7]
    assert found.logit == pytest.approx(float(want), rel=1e-4, abs=1e-4)
    assert found.total == pytest.approx(float(want), rel=1e-4, abs=1e-4)
    assert found.heads.shape == (ours.config.n_layers, ours.config.n_heads, 20)


@pytest.mark.parametrize("name", ["llama", "qwen3", "modern"])
def test_each_share_is_what_the_recorded_step_says(name):
    """The recorder knows nothing of GPTs: it unrolls the numbers that PyTorch wrote."""
    ours = model(FORMS[name], 60)
    tokens = torch.randint(0, 60, (1, 12))

    def read():
        logits = ours(tokens)
        return logits  # noqa: RET504  # the tensor is called by it

    attribution = (
        trace(read, model=ours, tokens=[tokens]).number("logits[0,11,7]").attribution("module")
    )
    shares = {share.label: share.value for share in attribution.shares}
    found = spoken_for(ours, tokens[0].tolist(), 7)
    assert found.embedding == pytest.approx(shares["embed"], rel=1e-3, abs=1e-4)
    for i in range(2):
        heads = float(found.heads[i].sum())
        assert heads == pytest.approx(shares[f"blocks.{i}.attn.o"], rel=1e-3, abs=1e-4)
        fed = float(found.feed_forward[i])
        assert fed == pytest.approx(shares[f"blocks.{i}.mlp.down"], rel=1e-3, abs=1e-4)


def test_a_token_can_t_speak_for_one_before_it():
    ours = model(FORMS["llama"], 60)
    ids = torch.randint(0, 60, (9,)).tolist()
    short = spoken_for(ours, ids, 3)
    assert short.heads.shape[-1] == 9
    with pytest.raises(WhenceError, match="after 1 to 64"):
        spoken_for(ours, ids * 9, 3)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return chatty(tmp_path_factory.mktemp("chat") / "tiny")


def test_turns_are_read_with_all_before_them(run):
    talk = Chat(run, {"temperature": 0}, max_tokens=8)
    talk.system("Be brief.")
    messages = [{"role": "system", "content": "Be brief."}]
    for text in ("Hi", "Who are you?"):
        got = "".join(talk.say(text))
        messages.append({"role": "user", "content": text})
        ids = conversation_ids(run.tokenizer, messages)
        want = generate(run.model(), run.tokenizer, ids, temperature=0, max_tokens=8)[0]
        assert got == want
        messages.append({"role": "assistant", "content": got})
        assert talk.messages == messages
        assert talk.last.prompt == ids
    talk.reset()
    assert talk.messages == messages[:1]


def test_what_was_written_with_fewer_bits_is_opened_with_all(run):
    talk = Chat(run, {"temperature": 0}, max_tokens=4, weights="int8")
    list(talk.say("Hi"))
    assert talk.last.weights == "int8"
    before, token, found = talk.why(1)
    with torch.inference_mode():
        want = run.model()(torch.tensor([before]))[0, -1, token]
    assert found.logit == pytest.approx(float(want), rel=1e-4, abs=1e-4)
    assert "written with int8 weights" in talk.last.rounded()


def test_an_answer_broken_off_is_kept_as_far_as_it_came(run):
    talk = Chat(run, {"temperature": 0}, max_tokens=30)
    pieces = talk.say("Hi")
    part = "".join(itertools.islice(pieces, 3))
    pieces.close()
    assert talk.messages[-1]["content"].startswith(part)
    assert 3 <= len(talk.last.written) < 30


def test_a_conversation_that_is_too_long_is_told(run):
    talk = Chat(run, {"temperature": 0})
    with pytest.raises(WhenceError, match="/reset"):
        list(talk.say("word " * 200))
    assert talk.messages == []


def test_a_text_of_megabytes_is_refused_before_it_is_cut(run, monkeypatch):
    def never(*_):
        raise AssertionError("cut")

    talk = Chat(run, {"temperature": 0})
    monkeypatch.setattr(ImportedTokenizer, "_cut", never)
    with pytest.raises(WhenceError, match=r"at least [\d,]+ tokens and the model reads 128"):
        list(talk.say("word " * 10**6))
    with pytest.raises(WhenceError, match="at least"):
        list(talk.say("<|im_end|> word " * 10**6))
    assert talk.messages == []


def test_the_verb(run, capsys, monkeypatch):
    lines = [
        "/help", "Hi", "/tokens", "/why 2", "/why -1", "/temperature 1.5", "/top-k 5", "/top-k off",
        "/top-p 0.9", "/seed 3", "/max-tokens 4", "", "Again", "/system You are a cat.", "/reset",
        "/quit", "never read",
    ]  # fmt: skip
    left = iter(lines)
    monkeypatch.setattr(builtins, "input", lambda _: next(left))
    assert whence("chat", run.path, "--temperature", 0, "--max-tokens", 5) == 0
    told = capsys.readouterr().out
    assert "/why [N]" in told
    assert "has the logit" in told
    assert "rounding" in told
    command = next(line for line in told.splitlines() if line.startswith("all of it:"))
    words = command.split("whence ")[1].replace(f"'{run.path}'", str(run.path)).split()
    assert whence(*words, "--json") == 0
    assert '"receipt"' in capsys.readouterr().out
    assert next(left) == "never read"


def test_ctrl_c_ends_an_answer_and_never_the_conversation(run, capsys, monkeypatch):
    """One that comes a moment too late, when the answer has just ended, ends nothing."""
    left = iter(["Hi", KeyboardInterrupt, "/tokens", "/why", EOFError])

    def typed(_):
        line = next(left)
        if not isinstance(line, str):
            raise line
        return line

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(builtins, "input", typed)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(Chat, "why", interrupted)
    assert whence("chat", run.path, "--max-tokens", 3) == 0
    told = capsys.readouterr().out
    assert told.count("Ctrl-D leaves.") == 3  # at the beginning too
    assert "1 '" in told


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/what", "a command"),
        ("/why", "no answer yet"),
        ("/tokens", "no answer yet"),
        ("/temperature hot", "a number"),
    ],
)
def test_what_the_verb_refuses(run, capsys, monkeypatch, line, said):
    monkeypatch.setattr(builtins, "input", lambda _: line)
    assert whence("chat", run.path) == 2
    assert said in capsys.readouterr().err


def test_a_run_that_can_t_talk(tmp_path, capsys):
    from tests.runs.tiny import finish, make

    made = make(tmp_path / "run", steps=2)
    finish(made)
    assert whence("chat", made.path) == 2
    assert "no chat template" in capsys.readouterr().err
