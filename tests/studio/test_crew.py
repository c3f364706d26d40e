"""No answer waits for another's work: each that computes has a process of its own."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.runs.tiny import make
from tests.studio.conftest import Studio
from whence.errors import WhenceError
from whence.studio import crew as crew_module
from whence.studio.answers import answer
from whence.studio.crew import COMPUTED, Crew, Member
from whence.studio.wire import unpack

POSIX = pytest.mark.skipif(os.name == "nt", reason="processes can't be stopped for a while there")


@pytest.fixture(scope="module")
def both():
    made = Crew(2)
    yield made
    made.close()


@pytest.fixture
def crew(both):
    """One process, and room for another. That process is the last test's: they take seconds."""
    both.warm()
    for member in both.members[1:]:
        member.process.kill()
        member.listening.join()
    return both


@contextmanager
def held(member: Member) -> Iterator[None]:
    """A process held still: what it is asked, it is busy with."""
    member.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        member.process.send_signal(signal.SIGCONT)


@pytest.fixture
def folder(tiny_run, tmp_path) -> Path:
    """Two runs, called one and two."""
    for name in ("one", "two"):
        shutil.copytree(tiny_run, tmp_path / "runs" / name)
    return tmp_path / "runs"


def value(run: str, step: int = 13) -> dict:
    return {"run": run, "step": step, "address": "loss"}


@POSIX
def test_a_question_doesnt_wait_for_another(crew, folder):
    """The one is held still, and the other is answered meanwhile."""
    with held(*crew.members):
        one = crew.ask("cell", value("one"), folder)
        two = crew.ask("cell", value("two"), folder)
        assert unpack(two.result(timeout=300))["run"] == "two"
        assert not one.done()
    assert unpack(one.result(timeout=300))["run"] == "one"
    assert len(crew.members) == 2


@POSIX
def test_the_page_is_answered_while_a_step_is_replayed(crew, studio, monkeypatch):
    """By the server: another run's step, and all that needs no computing."""
    shutil.copytree(studio.folder / "bottles", studio.folder / "other")
    monkeypatch.setattr("whence.studio.server.CREW", crew)
    said = []

    def ask(name: str, params: dict) -> None:
        with studio.client(timeout=300) as client:
            said.append((params["run"], client.post(f"/ask/{name}", json=params).status_code))

    waits = threading.Thread(target=ask, args=("cell", value("bottles")))
    [busy] = crew.members
    with held(busy):
        waits.start()
        while not busy.asked:
            time.sleep(0.01)
        ask("cell", value("other"))
        for name in ("runs", "live", "step"):
            params = {} if name == "runs" else {"run": "bottles"}
            params |= {"step": 3} if name == "step" else {}
            with studio.client(timeout=300) as client:
                assert client.post(f"/ask/{name}", json=params).status_code == 200
        assert said == [("other", 200)]
    waits.join()
    assert said == [("other", 200), ("bottles", 200)]


def test_questions_about_one_step_share_its_trace(crew, folder):
    asked: list[Future[bytes]] = []
    for name, params in (("cell", value("one")), ("receipt", value("one")), ("cell", value("one"))):
        asked.append(crew.ask(name, params, folder))
    for each in asked:
        each.result(timeout=300)
    assert len(crew.members) == 1
    crew.ask("cell", value("two"), folder).result(timeout=300)
    [member] = crew.members  # it was free
    assert member.last[1] == "two"


def test_how_far_a_step_is_can_be_asked_while_it_is_computed(crew, folder):
    wanted = {"run": "one", "step": 13}
    crew.ask("names", {**wanted, "part": ""}, folder).result(timeout=300)
    assert unpack(crew.ask("tracing", wanted, folder).result(timeout=300))["state"] == "ready"


def test_an_answer_is_that_of_this_process(crew, folder):
    """The same numbers, to the bit, whatever process works them out."""
    for name, params in (
        ("cell", value("one")),
        ("receipt", {"run": "one", "step": 13, "address": "head.weight[3,7].grad"}),
        ("prediction", {"run": "one", "prompt": "99"}),
        ("play", {"data": "one"}),
    ):
        found = unpack(crew.ask(name, params, folder).result(timeout=300))
        here = answer(name, params, folder)
        assert found.keys() == here.keys()
        assert found["python"] == here["python"]
        assert found.get("value") == here.get("value")


@pytest.mark.parametrize(
    ("params", "said"),
    [({"run": "none"}, "there is no run"), ({"run": "one", "step": 99}, "has no step 99")],
)
def test_what_is_refused_there_is_refused_here(crew, folder, params, said):
    with pytest.raises(WhenceError, match=said):
        crew.ask("cell", {"address": "loss", **params}, folder).result(timeout=300)


@POSIX
def test_a_process_that_is_killed_is_told_and_replaced(crew, folder):
    [member] = crew.members
    with held(member):
        asked = crew.ask("cell", value("one"), folder)
        member.process.kill()
    with pytest.raises(WhenceError, match=r"ended with code .*; it may have run out of memory"):
        asked.result(timeout=300)
    assert unpack(crew.ask("cell", value("one"), folder).result(timeout=300))["run"] == "one"


def test_no_more_processes_than_may_be(crew, folder):
    asked = [
        crew.ask("cell", value(run, step), folder) for run in ("one", "two") for step in (3, 9)
    ]
    assert len(crew.members) == 2
    assert [unpack(each.result(timeout=300))["step"] for each in asked] == [3, 9, 3, 9]


def test_who_goes_away_takes_no_process_along(crew, folder):
    asked = crew.ask("cell", value("one"), folder)
    assert not asked.cancel()
    assert asked.result(timeout=300)


def test_the_processes_end_with_the_studio(folder):
    """Also where it is killed."""
    words = (
        "import time; from whence.studio.crew import CREW\n"
        "CREW.warm(); print(CREW.members[0].process.pid, flush=True); time.sleep(1000)"
    )
    source = str(Path(crew_module.__file__).parents[2])
    studio = subprocess.Popen(
        [sys.executable, "-c", words],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": source},
    )
    assert studio.stdout
    member = psutil.Process(int(studio.stdout.readline()))
    studio.kill()
    studio.communicate()
    assert member.wait(timeout=300) is None or not member.is_running()


def test_what_computes_is_known(studio: Studio):
    """Every question that can't be answered without a step or a model is asked of the crew."""
    from whence.studio.answers import ANSWERS

    assert set(ANSWERS) >= COMPUTED
    assert set(ANSWERS) - COMPUTED == {
        "runs",
        "form",
        "recipe",
        "compare",
        "live",
        "points",
        "step",
    }


def test_a_run_that_is_made_meanwhile(crew, tmp_path):
    make(tmp_path / "new")
    with pytest.raises(WhenceError, match="has no steps yet"):
        crew.ask("cell", value("new"), tmp_path).result(timeout=300)
