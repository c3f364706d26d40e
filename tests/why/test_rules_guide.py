"""The page on how to add a rule is kept true: its code is run, in a module of its own."""

import re
import types
from pathlib import Path

import pytest
import torch

from whence.why import trace
from whence.why.rules.table import RULES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "why-rules.md"


def test_the_rule_of_the_page_opens_its_operation():
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    page = types.ModuleType("page")
    try:
        exec(compile("\n".join(blocks), str(PAGE), "exec"), vars(page))
        x, w = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 4.0])

        def step() -> torch.Tensor:
            y = page.weighed(x, w)
            return y  # noqa: RET504 - the variable is its name

        receipt = trace(step).number("y[1]").why()
        assert [term.value for term in receipt.terms] == [-12.0]
        assert receipt.verdict in ("exact", "rounded")
        del RULES["weighed"]
        t = trace(step)
        assert t.closed() == {"weighed": 1}
        assert t.number("y[1]").why().verdict == "closed box"
        slopes = {address: s for address, _, s in t.number("y[1]").slope().inputs}
        assert slopes == pytest.approx({"x[1]": 12.0, "w[1]": -3.0})
    finally:
        RULES.pop("weighed", None)
