"""A page has texts read that were named, and no other file of the machine, whatever it asks."""

import dataclasses
import inspect
import json
import os
from dataclasses import replace

import pytest

from tests.runs.tiny import RECIPE, finish
from whence.data import text_source
from whence.errors import WhenceError
from whence.runs.recipe import Data
from whence.runs.run import Run
from whence.runs.settings import flat
from whence.studio.answers import ANSWERS, answer
from whence.studio.commands import COMMANDS, _kept, command
from whence.studio.texts import Texts

SECRET = "the password of the database is hunter2 " * 80
SMALL = {"model.n_layers": 1, "model.n_heads": 2, "model.d_model": 16, "model.context_length": 16}


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "elsewhere" / "secret.txt"
    path.parent.mkdir()
    path.write_text(SECRET)
    return path


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "runs"
    source = text_source("a text", lambda: ["the cat sat on the mat\n" * 60])
    finish(Run.create(replace(RECIPE, steps=6), made / "mine", source), steps=6)
    return made


def ways_to(path, folder):
    """Requests that would read a file, each as (kind, name, parameters)."""
    settings = [{"data.source": [path]}, {"data.source": path}, {"data": {"source": [path]}}]
    settings += [{"data.source": ["topics", path]}, {"data.source": ["-"]}]
    settings += [{"data.validation_source": [path]}, {"data.validation-source": path}]
    for given in settings:
        yield "do", "start", {"settings": {**SMALL, **given}}
        yield "do", "start", {"source": "text", "text": "a b " * 99, "settings": {**SMALL, **given}}
        yield "ask", "recipe", {"settings": {**SMALL, **given}}
        yield "do", "fork", {"run": "mine", "step": 3, "changes": given}
    for source in (path, "-", os.path.relpath(path), f"{folder}/texts/../../elsewhere/secret.txt"):
        yield "do", "start", {"source": source, "settings": SMALL}
        yield "ask", "recipe", {"source": source, "settings": SMALL}


def test_no_route_reads_another_file(studio, folder, secret):
    os.rename(folder / "mine", studio.folder / "mine")
    before = {p.name for p in studio.folder.iterdir()}
    with studio.client(timeout=60) as client:
        for kind, name, params in ways_to(str(secret), studio.folder):
            reply = client.post(f"/{kind}/{name}", json=params)
            assert reply.status_code == 422, (name, params)
            assert "hunter" not in reply.text
    made = {p.name for p in studio.folder.iterdir()} - before
    assert made <= {"texts"}
    for path in studio.folder.rglob("*"):
        assert not path.is_file() or b"hunter" not in path.read_bytes()


def test_no_field_of_a_recipe_reads_another_file(studio, secret):
    """Whichever field is set to its name: also one that will be added."""
    fields = flat(RECIPE.to_dict()) | {f"data.{f.name}": None for f in dataclasses.fields(Data)}
    with studio.client(timeout=60) as client:
        for field in fields:
            for value in (str(secret), [str(secret)]):
                given = {**SMALL, "steps": 1, field: value}
                made = client.post("/ask/recipe", json={"settings": given})
                if made.status_code == 200:  # the name stands there, and isn't opened
                    assert field in ("data.field", "change.freeze"), field


def test_every_parameter_is_tried(studio, secret):
    """No text that a page can send, put in any parameter, is opened as a file."""
    functions = {("ask", n): f for n, f in ANSWERS.items()}
    functions |= {("do", n): f for n, f in COMMANDS.items() if n != "remove"}
    with studio.client(timeout=60) as client:
        for (kind, name), function in functions.items():
            for parameter in list(inspect.signature(function).parameters)[1:]:
                asks_of_a_run = "run" in inspect.signature(function).parameters
                params = {"run": "bottles"} if asks_of_a_run else {}
                if name == "start":
                    params["settings"] = {"steps": 0}  # refused, but behind the text
                params[parameter] = str(secret)
                reply = client.post(f"/{kind}/{name}", json=params)
                assert reply.status_code in (200, 422), (name, parameter, reply.text)
                assert "hunter" not in reply.text, (name, parameter)


def test_what_is_not_there_is_refused_in_the_same_words(folder, secret):
    texts = Texts(folder)
    for path in (str(secret), str(secret) + "x"):
        with pytest.raises(WhenceError, match=f"may not read '{path}'"):
            texts.check([path])


def test_allowed_by_name(folder, secret, tmp_path):
    texts = Texts(folder, [secret])
    assert str(secret) in [s["name"] for s in answer("form", {}, texts)["sources"]]
    asked = {"source": str(secret), "settings": SMALL}
    assert answer("recipe", asked, texts)["name"] == "secret-1"
    texts.check([str(secret)])
    (secret.parent / "other.txt").write_text("other")
    with pytest.raises(WhenceError, match="may not read"):
        texts.check([str(secret.parent / "other.txt")])
    whole = Texts(folder, [secret.parent])
    whole.check([str(secret.parent), str(secret)])
    with pytest.raises(WhenceError, match="may not read"):
        whole.check([str(secret.parent / "..")])
    with pytest.raises(WhenceError, match="no such file"):
        Texts(folder, [tmp_path / "nowhere"])


@pytest.mark.skipif(os.name == "nt", reason="links and pipes need rights there")
def test_links_and_pipes(folder, secret, tmp_path):
    """A link leads out of what was allowed, and a pipe may never end."""
    (tmp_path / "mine").mkdir()
    texts = Texts(folder, [tmp_path / "mine"])
    (folder / "texts").mkdir()
    (folder / "texts" / "link.txt").symlink_to(secret)
    (tmp_path / "mine" / "link.txt").symlink_to(secret)
    os.mkfifo(folder / "texts" / "pipe.txt")
    for name in ("texts/link.txt", "texts/pipe.txt"):
        with pytest.raises(WhenceError, match="may not read"):
            texts.check([str(folder / name)])
    for name in ("mine", "mine/link.txt"):
        with pytest.raises(WhenceError, match="may not read"):
            texts.check([str(tmp_path / name)])
    with pytest.raises(WhenceError, match="may not read"):
        Texts(folder, [secret]).check(["/dev/zero"])
    assert [s["name"] for s in answer("form", {}, texts)["sources"]][3:] == []


@pytest.mark.skipif(os.name == "nt", reason="links and pipes need rights there")
def test_what_lies_in_a_kept_texts_place_is_neither_read_nor_written(folder, secret):
    (folder / "texts").mkdir()
    os.mkfifo(folder / "texts" / "cats.txt")
    (folder / "texts" / "cats-2.txt").symlink_to(secret)
    (folder / "texts" / "cats-3.txt").symlink_to(folder / "nowhere")
    kept = [_kept(Texts(folder), SECRET, "cats.txt").name for _ in range(2)]
    assert kept == ["cats-4.txt", "cats-4.txt"]
    assert not (folder / "nowhere").exists()


def test_a_kept_text_can_be_chosen_again(folder, ended):
    (folder / "texts").mkdir()
    (folder / "texts" / "cats.txt").write_text("the cat sat on the mat\n" * 60)
    [chosen] = [s["name"] for s in answer("form", {}, folder)["sources"]][3:]
    asked = {"source": chosen, "settings": {**SMALL, "steps": 1}, "paused": True}
    made = command("start", asked, Texts(folder))
    assert made["run"] == "cats-1"
    assert json.dumps(made)


def test_a_fork_keeps_its_own_text(folder, ended):
    """Its tokens are copied: no text is read again, wherever it once came from."""
    made = command("fork", {"run": "mine", "step": 3, "paused": True}, Texts(folder))
    assert (folder / made["run"] / "tokens.bin").read_bytes() == (
        folder / "mine" / "tokens.bin"
    ).read_bytes()
