"""A damaged run gets answers or sentences in the page, and never breaks a question."""

import pytest

from tests.runs.test_listing import DAMAGE, folder, one  # noqa: F401  # fixtures
from tests.studio.test_every_model import ASKED
from whence.errors import WhenceError
from whence.studio.answers import answer
from whence.studio.commands import command
from whence.studio.wire import pack


@pytest.mark.parametrize("damage", DAMAGE)
def test_questions_to_a_damaged_run(folder, damage):  # noqa: F811
    DAMAGE[damage](folder / "bad")
    said: list[str] = []
    asked = [*ASKED, ("compare", {"a": "bad", "b": "whole"})]
    for name, params in asked:
        of_run = {} if name in ("runs", "compare") else {"run": "bad"}
        try:
            assert pack(answer(name, {**of_run, **params}, folder))
        except WhenceError as error:
            said.append(str(error))
    for name in ("pause", "stop", "pace"):
        try:
            command(name, {"run": "bad"}, folder)
        except WhenceError as error:
            said.append(str(error))
    assert all(len(sentence) < 2000 for sentence in said)
