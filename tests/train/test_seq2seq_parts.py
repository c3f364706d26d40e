"""Label smoothing against torch, and the schedule of 2017 against its formula."""

import pytest
import torch
import torch.nn.functional as F

from whence.train.losses import cross_entropy
from whence.train.schedules import Schedule


def test_label_smoothing_is_torchs_and_the_formula():
    torch.manual_seed(0)
    logits, targets = torch.randn(5, 7), torch.tensor([0, 3, -100, 6, 2])
    found = cross_entropy(logits, targets, 0.1)
    torch.testing.assert_close(found, F.cross_entropy(logits, targets, label_smoothing=0.1))
    y = 0.9 * F.one_hot(targets.clamp(min=0), 7) + 0.1 / 7
    by_hand = -(y * logits.log_softmax(-1)).sum(-1)[targets >= 0].mean()
    torch.testing.assert_close(found, by_hand)


@pytest.mark.parametrize("step", [1, 10, 4000, 4001, 100_000])
def test_warmup_schedule_of_2017(step):
    d, warmup = 512, 4000
    paper = d**-0.5 * min(step**-0.5, step * warmup**-1.5)
    peak = (d * warmup) ** -0.5
    found = Schedule("inverse-sqrt", warmup=warmup).factor(step - 1, 100_000)
    assert peak * found == pytest.approx(paper)
