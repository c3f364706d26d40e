"""What read a number: of an operation on many tensors at once, only its own part of the result."""

import pytest
import torch
from torch import nn

from whence.why import trace

OPTIM = {
    "adamw": lambda p: torch.optim.AdamW(p, foreach=True, amsgrad=True),
    "adamw fused": lambda p: torch.optim.AdamW(p, fused=True, amsgrad=True),
    "adam fused": lambda p: torch.optim.Adam(p, fused=True),
    "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, foreach=True, weight_decay=0.1),
    "sgd fused": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, fused=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, foreach=True),
    "adagrad fused": lambda p: torch.optim.Adagrad(p, fused=True),
    "adadelta": lambda p: torch.optim.Adadelta(p, foreach=True),
    "adamax": lambda p: torch.optim.Adamax(p, foreach=True),
    "nadam": lambda p: torch.optim.NAdam(p, foreach=True),
    "radam": lambda p: torch.optim.RAdam(p, foreach=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, foreach=True, momentum=0.9, centered=True),
    "rprop": lambda p: torch.optim.Rprop(p, foreach=True),
    "asgd": lambda p: torch.optim.ASGD(p, foreach=True),
    "adafactor": lambda p: torch.optim.Adafactor(p, foreach=True),
}
# One number for all parameters: the flag of a scaler.
SHARED = ("optimizer.",)


@pytest.mark.parametrize("scaled", [False, True], ids=["", "scaled"])
@pytest.mark.parametrize("make", OPTIM.values(), ids=OPTIM)
@pytest.mark.filterwarnings("ignore")
def test_what_read_a_number_of_one_parameter_made_numbers_of_that_parameter(make, scaled):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 4)), torch.randn(3, 4)
    optimizer = make(list(model.parameters()))
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, enabled=scaled)

    def step() -> None:
        optimizer.zero_grad()
        scaler.scale(model(x).square().mean()).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        scaler.step(optimizer)
        scaler.update()

    step()
    t = trace(step, model=model, optimizer=optimizer)
    held = dict(model.named_parameters())
    checked = 0
    for name in t.names():
        owner = next((n for n in held if name.startswith(f"{n}.")), None)
        if owner is None and name.partition("#")[0] in held:
            owner = name.partition("#")[0]
        if owner is None or "backward" in name:
            continue
        numbers = t[name]
        if not numbers.ref.numel:
            continue
        number = numbers[tuple(n - 1 for n in numbers.shape)]
        for operation, output in number.used_by:
            if operation.startswith(("_foreach", "_fused", "_amp")):
                checked += 1
                assert output.startswith((owner, *SHARED)), (name, operation, output)
    assert checked > 2 * len(held)


def test_a_gradient_s_norm_is_its_own():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 4)), torch.randn(3, 4)

    def step() -> None:
        model(x).square().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1, foreach=True)

    t = trace(step, model=model)
    for name, parameter in model.named_parameters():
        at = ",".join("0" * parameter.ndim)
        uses = dict(t.number(f"{name}[{at}].grad").used_by)
        assert uses["_foreach_norm"] == f"{name}.optimizer.norm"
        assert uses["_foreach_mul"] == f"{name}.grad#2"
        norm = t[uses["_foreach_norm"]].value
        assert parameter.grad is not None
        before = t[f"{name}.grad"].value
        assert norm.item() == torch.linalg.vector_norm(before).item()
