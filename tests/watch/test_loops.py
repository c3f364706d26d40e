"""Loops as people write them: watched and unwatched alike, and every step redone to the bit."""

import copy
import math

import pytest
import torch

from tests.watch.loops import LOOPS
from whence.runs.store.records.record import Logs
from whence.watch import watch
from whence.why import balance


def state(models):
    """All tensors of some models."""
    models = models if isinstance(models, tuple) else (models,)
    return [t for m in models for t in m.state_dict().values()]


def same(a, b):
    return len(a) == len(b) and all(
        torch.equal(x.view(torch.uint8), y.view(torch.uint8)) if x.dim() else torch.equal(x, y)
        for x, y in zip(a, b, strict=True)
    )


@pytest.fixture(params=LOOPS, ids=lambda loop: loop.__name__)
def loop(request):
    return request.param


def run(loop, out):
    """Run a loop watched; give its models, its recorder, and the state behind each step."""
    recorders, states = [], []

    def begin(model, optimizer):
        recorders.append(
            watch(model, optimizer, out=out, snapshot_every=2, tell=lambda sentence: None)
        )

    def note(*models):
        states.append(copy.deepcopy([t.detach() for t in state(models)]))

    models = loop(begin, note)
    (recorder,) = recorders
    return models, recorder, states


def test_a_watched_loop_gives_the_same_bits_and_its_steps_are_redone(loop, tmp_path):
    plain = loop(lambda *_: None, lambda *_: None)
    after_plain = torch.rand(3)
    watched, recorder, states = run(loop, tmp_path / "run")
    assert torch.equal(torch.rand(3), after_plain), "the generator went another way"
    assert same(state(plain), state(watched))
    assert list(recorder.steps) == list(range(len(states)))
    for step in recorder.steps:
        redone = recorder.at(step).redo()
        assert redone.differences == [], (step, redone.notes)
        names = [n for m in redone.copies.models.values() for n in m.state_dict()]
        found = state(tuple(redone.copies.models.values()))
        for name, a, b in zip(names, found, states[step], strict=True):
            assert torch.equal(a, b), (step, name, redone.notes)
    recorder.close()


def test_close_takes_every_hook_away(loop, tmp_path):
    seen = []

    def begin(model, optimizer):
        models = list(model.values()) if isinstance(model, dict) else model
        models = models if isinstance(models, list) else [models]
        optimizers = optimizer if isinstance(optimizer, list) else [optimizer]

        def hooks():
            return [
                len(table)
                for m in models
                for table in (m._forward_pre_hooks, m._forward_hooks, m._backward_hooks)
            ] + [
                len(table)
                for o in optimizers
                for table in (o._optimizer_step_pre_hooks, o._optimizer_step_post_hooks)
            ]

        before = hooks()
        with watch(model, optimizer, out=tmp_path / "run", tell=lambda sentence: None):
            assert hooks() != before
        assert hooks() == before
        seen.append(True)

    loop(begin, lambda *_: None)
    assert seen


def test_a_step_opens_to_receipts_that_add_up(loop, tmp_path):
    _, recorder, _ = run(loop, tmp_path / "run")
    trace = recorder.at(-1).trace()
    assert not any("approximate" in note for note in trace.notes)
    found = balance(trace, numbers=400, each=4)
    assert found.wrong == []
    assert found.numbers > 30
    assert any(op.phase == "update" for op in trace.ops)
    recorder.close()


def test_the_record_has_a_line_for_each_step(loop, tmp_path):
    _, recorder, states = run(loop, tmp_path / "run")
    recorder.close()
    steps = Logs(tmp_path / "run").read_steps()
    assert [s["step"] for s in steps] == list(range(len(states)))
    assert all(s["rate"] > 0 and math.isfinite(s["grad_norm"]) for s in steps)
