"""Where a document ends an end token stands, in every kind of tokenizer."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer as HuggingFaceTokenizer
from transformers import PreTrainedTokenizerFast

from tests.cli.command import whence
from whence.data import load_tokenizer, open_source, prepare
from whence.interop.tokenizers_out import special_tokens, tokenizer_file
from whence.runs.run import Run

DOCUMENTS = ["one two\nthree\n", "two <|end|> two\n", "é three one\n"] * 4
KINDS = ["chars", "bytes", "words", "bpe"]


@pytest.fixture
def folder(tmp_path):
    """A file for each document; one lacks its last line break."""
    for number, text in enumerate(DOCUMENTS):
        file = tmp_path / "texts" / f"{number:02d}.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text.removesuffix("\n") if number == 1 else text, encoding="utf-8")
    return tmp_path / "texts"


@pytest.fixture
def lines(tmp_path):
    """A line of JSON for each document."""
    file = tmp_path / "lines.jsonl"
    rows = [json.dumps({"n": 1, "body": text.removesuffix("\n")}) for text in DOCUMENTS]
    file.write_text("\n".join(rows), encoding="utf-8")
    return file


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["folder", "lines"])
@pytest.mark.parametrize("normalize", [False, True])
def test_each_document_is_cut_by_itself_and_ends(kind, where, normalize, request, tmp_path):
    path = request.getfixturevalue(where)
    source = open_source(str(path), normalize, "body", ended=True)
    size = 270 if kind == "bpe" else None
    dataset = prepare(source, kind, size, 0, tmp_path / "out", ended=True)
    tokenizer = dataset.tokenizer
    [end] = tokenizer.ends
    theirs = HuggingFaceTokenizer.from_str(json.dumps(tokenizer_file(tokenizer)))
    theirs.encode_special_tokens = True  # what is written in a text is text
    wanted = [[*theirs.encode(d, add_special_tokens=False).ids, end] for d in DOCUMENTS]
    assert dataset.train.tolist() == [id for ids in wanted for id in ids]
    assert end == tokenizer.vocab_size - 1 == theirs.token_to_id("<|end|>")
    assert tokenizer.decode(dataset.train) == "".join(DOCUMENTS) or kind == "words"
    assert tokenizer.token(end) == "<|end|>"
    assert tokenizer.id("<|end|>") == end
    assert tokenizer.n_bytes([end]) == 0
    assert dataset.n_bytes_train == len("".join(DOCUMENTS).encode())


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_read_again_and_goes_out(kind, folder, tmp_path):
    source = open_source(str(folder), ended=True)
    size = 270 if kind == "bpe" else None
    tokenizer = prepare(source, kind, size, 0, tmp_path / "out", ended=True).tokenizer
    again = load_tokenizer(tmp_path / "out" / "tokenizer.json")
    assert (again.ends, again.vocab_size) == (tokenizer.ends, tokenizer.vocab_size)
    text = "two <|end|>"
    assert np.array_equal(again.encode(text), tokenizer.encode(text))
    file = HuggingFaceTokenizer.from_str(json.dumps(tokenizer_file(again)))
    others = PreTrainedTokenizerFast(tokenizer_object=file, **special_tokens(again))
    assert others.eos_token_id == again.ends[0]


def test_without_the_option_nothing_changes(folder, tmp_path):
    dataset = prepare(open_source(str(folder)), "chars", None, 0, tmp_path / "out")
    assert dataset.tokenizer.ends == ()
    assert (
        dataset.tokenizer.decode(dataset.train).count("\n")
        == sum(text.count("\n") for text in DOCUMENTS) + len(DOCUMENTS) - 1 - 1
    )  # joined by a line break; one file lacked its own


def test_a_model_that_has_learned_where_a_text_ends_stops_there(tmp_path, capsys):
    (tmp_path / "texts").mkdir()
    for number in range(60):
        (tmp_path / "texts" / f"{number:02d}.txt").write_text("abc\n")
    words = ["--model", "bigram", "--steps", 60, "--record.sample-tokens", 0]
    words += ["--model.context-length", 8, "--optimizer.learning-rate", 0.5]
    words += ["--data.documents", "True", "--out", tmp_path / "run"]
    assert whence("train", tmp_path / "texts", *words) == 0
    capsys.readouterr()
    assert whence("generate", tmp_path / "run", "a", "--greedy", "--json") == 0
    [sample] = json.loads(capsys.readouterr().out)["samples"]
    assert sample["text"] == "bc\n"
    run = Run.open(tmp_path / "run")
    found = run.evaluate()
    assert whence("evaluate", tmp_path / "run", tmp_path / "texts", "--json") == 0
    assert json.loads(capsys.readouterr().out)["tokens"] == 60 * 5 - 1
    assert found.n_bytes < found.n_tokens  # the end token is predicted, and stands for no byte


def test_rows_end_with_their_lines(tmp_path, capsys):
    (tmp_path / "pairs.tsv").write_text("a\tb\n" * 50)
    words = ["--model", "seq2seq", "--data.documents", "True", "--out", tmp_path / "run"]
    assert whence("train", tmp_path / "pairs.tsv", *words) == 2
    assert "data.documents" in capsys.readouterr().err
