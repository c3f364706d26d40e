"""Labelled texts laid side by side, against PyTorch's own padding."""

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from whence.data.labels import LabelBatches

TEXTS = [np.arange(1, 1 + n) for n in (3, 1, 4, 2, 5)]
CLASSES = [0, 1, 0, 2, 1]


@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_the_parts_of_a_batch_hold_each_of_its_texts_once(accumulate):
    batches = LabelBatches(TEXTS, CLASSES, batch_size=5, seed=3, accumulate=accumulate)
    for step in range(3):
        parts = batches[step]
        assert len(parts) == accumulate
        assert sum(weight for weight, _ in parts) == pytest.approx(1)
        for weight, part in parts:
            texts = [torch.from_numpy(TEXTS[i]) for i in part.starts]
            assert torch.equal(part.inputs, pad_sequence(texts, batch_first=True))
            assert torch.equal(part.visible, part.inputs != 0)
            assert part.targets.tolist() == [CLASSES[i] for i in part.starts]
            assert weight == len(texts) / 5
        # A batch as large as the set of texts is an epoch: each text is in it once.
        assert sorted(np.concatenate([p.starts for _, p in parts])) == [0, 1, 2, 3, 4]
        assert len({part.seed for _, part in parts}) == accumulate
