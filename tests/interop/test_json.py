"""`response_format`: answers in JSON, asked for by OpenAI's client and judged by jsonschema."""

import json
import sys

import jsonschema
import openai
import pytest
import torch

from tests.interop.test_server import TEXT, chatty, serving
from tests.interop.theirs import byte_level, sentencepiece_bpe
from whence.data.tokenizers.chars import CharTokenizer
from whence.data.tokenizers.imported import ImportedTokenizer
from whence.interop.importing import import_model
from whence.interop.server.fields import ApiError
from whence.interop.server.json_format import JsonFormat

# Each bounds what fits it, so that even a model that draws at random comes to the end.
NAME = {"type": "string", "maxLength": 6}
SCHEMAS = [
    {
        "type": "object",
        "properties": {
            "name": NAME,
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "pet": {"enum": ["dog", "cat", None]},
            "tags": {"type": "array", "items": NAME, "minItems": 1, "maxItems": 2},
        },
        "required": ["name", "age", "pet", "tags"],
        "additionalProperties": False,
    },
    {
        "$defs": {"point": {"type": "array", "items": {"enum": [0, 1]}, "maxItems": 2}},
        "type": "object",
        "properties": {"at": {"$ref": "#/$defs/point"}, "on": {"type": "boolean"}},
        "required": ["at"],
        "additionalProperties": False,
    },
    {"type": "string", "pattern": "^[a-f]{2}🐟[0-9]$"},
    {"anyOf": [{"const": 7}, {"type": "null"}]},
]
ASK = [{"role": "user", "content": "Describe a person."}]


def form(schema) -> dict:
    return {"type": "json_schema", "json_schema": {"name": "it", "strict": True, "schema": schema}}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model with random weights: it would write no JSON by itself."""
    return chatty(tmp_path_factory.mktemp("json") / "tiny")


@pytest.fixture(scope="module")
def client(run):
    with (
        serving(run, seats=4) as (_, url),
        openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60) as made,
    ):
        yield made


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_answer_fits_its_schema(client, run, schema):
    got = client.chat.completions.create(
        model=run.name, messages=ASK, response_format=form(schema), n=8, seed=3, temperature=1.5,
        frequency_penalty=1,
    )  # fmt: skip
    for choice in got.choices:
        assert choice.finish_reason == "stop"
        jsonschema.validate(json.loads(choice.message.content), schema)


def test_a_stream_joins_to_the_same_json(client, run):
    settings = {
        "model": run.name, "messages": ASK, "response_format": form(SCHEMAS[0]), "seed": 5,
    }  # fmt: skip
    whole = client.chat.completions.create(**settings).choices[0].message.content
    chunks = list(client.chat.completions.create(**settings, stream=True))
    text = "".join(c.choices[0].delta.content or "" for c in chunks)
    assert text == whole
    jsonschema.validate(json.loads(text), SCHEMAS[0])
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_an_answer_that_is_cut_says_so(client, run):
    settings = {"model": run.name, "messages": ASK, "response_format": form(SCHEMAS[0]), "seed": 5}
    whole = client.chat.completions.create(**settings)
    n = whole.usage.completion_tokens
    for most, reason in ((n, "stop"), (n - 1, "length"), (1, "length")):
        got = client.chat.completions.create(**settings, max_tokens=most).choices[0]
        assert got.finish_reason == reason
        assert whole.choices[0].message.content.startswith(got.message.content)


def test_any_object(client, run):
    got = client.chat.completions.create(
        model=run.name, messages=ASK, response_format={"type": "json_object"}, n=8, seed=1,
    )  # fmt: skip
    assert {choice.finish_reason for choice in got.choices} <= {"stop", "length"}
    for choice in got.choices:
        assert choice.message.content.startswith("{")
        if choice.finish_reason == "stop":
            assert isinstance(json.loads(choice.message.content), dict)
    assert any(choice.finish_reason == "stop" for choice in got.choices)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (form({"type": "object", "properties": {"a": {"type": "nonsense"}}}), "can't be compiled"),
        (form({"$ref": "https://example.com/other.json"}), "can't be compiled"),
        (form({"type": "string", "pattern": "("}), "can't be compiled"),
        (form({"type": "integer", "minimum": 3, "maximum": 2}), "can't be compiled"),
        (form({"const": "x" * 200_000}), "200,000 characters"),
        ({"type": "json_schema"}, "json_schema.schema"),
        (form([]), "json_schema.schema"),
        ({"type": "xml"}, "json_object"),
        ("json", "an object"),
    ],
)
def test_what_is_no_schema_is_refused(client, run, given, said):
    with pytest.raises(openai.BadRequestError, match=said) as caught:
        client.chat.completions.create(model=run.name, messages=ASK, response_format=given)
    assert caught.value.param == "response_format"
    assert "\n" not in caught.value.body["message"]


def test_it_is_said_what_to_install(client, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(openai.BadRequestError, match=r"pip install whence\[serve\]"):
        client.chat.completions.create(
            model=run.name, messages=ASK, response_format={"type": "json_object"}
        )


def test_tokens_of_bytes_and_with_a_space_before_words():
    """As Llama 2 has them: characters that no token knows are drawn byte by byte."""
    tokenizer = ImportedTokenizer({"tokenizer": json.loads(sentencepiece_bpe().to_str())})
    guides = JsonFormat(tokenizer)
    draw = torch.Generator().manual_seed(0)
    for _ in range(10):
        guide, ids = guides.guide(form(SCHEMAS[0])), []
        for _ in range(200):
            p = guide.allow(torch.zeros(tokenizer.vocab_size)).softmax(-1)
            ids.append(int(p.multinomial(1, generator=draw)))
            if guide.take(ids[-1]):
                break
        jsonschema.validate(json.loads(tokenizer.decode(ids)), SCHEMAS[0])


def test_a_model_whose_characters_write_no_json():
    with pytest.raises(ApiError, match="none of the model's tokens"):
        JsonFormat(CharTokenizer("abc")).guide({"type": "json_object"})


def test_a_guide_ends_with_the_models_own_end():
    """A number may go on or end: there, and only there, may the token that ends a text come."""
    file = json.loads(byte_level().to_str())
    tokenizer = ImportedTokenizer({"tokenizer": file, "ends": [2]})
    guide = JsonFormat(tokenizer).guide(form({"type": "integer"}))
    logits = torch.zeros(tokenizer.vocab_size)
    assert guide.allow(logits)[2] == -torch.inf
    assert not guide.take(int(tokenizer.encode("7")[0]))
    assert guide.allow(logits)[2] == 0
    assert guide.take(2)


@pytest.mark.slow
def test_a_real_model_fills_in_a_form(tmp_path_factory):
    real = import_model("smollm", tmp_path_factory.mktemp("json") / "smollm", TEXT)
    ask = [{"role": "user", "content": "Describe a cat of 3 years called Tom, as JSON."}]
    with (
        serving(real, seats=2, length=256) as (_, url),
        openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=300) as client,
    ):
        got = client.chat.completions.create(
            model=real.name, messages=ask, response_format=form(SCHEMAS[0]), temperature=0
        )
    assert got.choices[0].finish_reason == "stop"
    found = json.loads(got.choices[0].message.content)
    jsonschema.validate(found, SCHEMAS[0])
    assert found["name"] == "Tom"
