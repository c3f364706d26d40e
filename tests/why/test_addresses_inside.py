"""Each factor of a receipt, opened by its address, is the number that the receipt shows."""

import pytest
import torch
from torch import nn

from whence.why import trace


@pytest.mark.parametrize("whole", [False, True], ids=["a layer of the model", "the model itself"])
def test_an_address_inside_an_lstm_leads_to_the_number_shown(whole):
    torch.manual_seed(0)
    lstm, x = nn.LSTM(2, 2, batch_first=True), torch.randn(1, 2, 2)
    model, path = (lstm, "") if whole else (nn.ModuleDict({"lstm": lstm}), "lstm.")
    t = trace(lambda: lstm(x)[0].square().mean().backward(), model=model)
    todo = [f"{path}weight_{kind}_l0[2,1].grad" for kind in ("ih", "hh")]
    seen: dict[str, float | None] = dict.fromkeys(todo)
    while todo:
        number = t.number(address := todo.pop())
        assert seen[address] in (None, number.value), address
        for term in number.why().terms:
            todo += [name for name, _ in term.factors if name not in seen]
            seen |= term.factors
    weights = dict(model.named_parameters())
    reached = [name for name in seen if "weight" in name and not name.endswith("grad")]
    assert len(reached) > 10
    for address in reached:
        name, _, index = address.rstrip("]").partition("[")
        i, j = map(int, index.split(","))
        assert weights[name][i, j].item() == seen[address]
    back = "layer.backward" if whole else "lstm.backward"
    assert not t[f"{back}.given"].value.any()  # no gradient came to the last state by itself
