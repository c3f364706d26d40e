"""Batches: a pure function of (seed, step), every window once an epoch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from whence.data.batches import WindowBatches
from whence.errors import WhenceError


def make(n=1000, T=8, B=4, seed=0, **more):
    tokens = np.arange(n, dtype=np.uint32)
    return WindowBatches(tokens, context_length=T, batch_size=B, seed=seed, **more)


@given(
    n=st.integers(2, 400),
    T=st.integers(1, 40),
    B=st.integers(1, 50),
    seed=st.integers(0, 2**64),
    step=st.integers(0, 10**12),
)
def test_windows_are_runs_of_the_text(n, T, B, seed, step):
    if n <= T:
        return
    [(weight, part)] = make(n, T, B, seed)[step]
    assert weight == 1.0
    assert part.inputs.shape == part.targets.shape == (B, T)
    assert part.inputs.dtype == part.targets.dtype == torch.int64
    expected = torch.from_numpy(part.starts)[:, None] + torch.arange(T)
    assert torch.equal(part.inputs, expected)
    assert torch.equal(part.targets, expected + 1)
    assert part.targets.max() < n
    assert 0 <= part.seed < 2**63
    torch.Generator().manual_seed(part.seed)


@settings(max_examples=50)
@given(n=st.integers(2, 400), T=st.integers(1, 40), B=st.integers(1, 9), seed=st.integers(0, 99))
def test_an_epoch_takes_each_window_once(n, T, B, seed):
    if n <= T:
        return
    batches = make(n, T, B, seed)
    W = batches.windows_per_epoch
    steps = -(-3 * W // B)
    starts = np.concatenate([batches.starts(step) for step in range(steps)])
    for epoch in range(3):
        windows = np.sort(starts[epoch * W : (epoch + 1) * W])
        assert np.all(np.diff(windows) == T), "side by side, none twice"
        assert windows[0] < T
        assert windows[-1] + T < n
        assert n - (windows[-1] + T + 1) < 2 * T, "no more than the ends are left out"


def test_offsets_and_orders_change_with_epoch_and_seed():
    def epoch(seed, number):
        batches = make(1000, 10, 99, seed)
        assert batches.windows_per_epoch == 99
        return batches.starts(number)

    offsets = [int(epoch(seed, number).min()) for seed in range(5) for number in range(40)]
    assert set(offsets) == set(range(10))
    orders = {tuple(epoch(seed, number) // 10) for seed in range(5) for number in range(5)}
    assert len(orders) == 25


def test_a_step_is_the_same_whatever_came_before():
    one, other = make(seed=7), make(seed=7)
    for step in (5, 0, 1000, 5):
        for (_, a), (_, b) in zip(one[step], other[step], strict=True):
            assert torch.equal(a.inputs, b.inputs)
            assert a.seed == b.seed
            assert np.array_equal(a.starts, b.starts)


def test_what_a_step_holds_never_changes():
    # Written down when it was made. A change here breaks the replay of every run.
    batches = make(1_003_854, 64, 6, 1337, accumulate=2)
    assert batches.starts(0).tolist() == [560421, 891045, 264293, 654757, 434469, 995493]
    assert batches.starts(123_456).tolist() == [479023, 363311, 973935, 717231, 530479, 566319]
    assert [part.seed for _, part in batches[123_456]] == [1781547560290980749, 8469610477836609517]


@pytest.mark.parametrize("accumulate", [1, 2, 3, 7])
def test_parts_hold_the_windows_of_the_whole_batch(accumulate):
    whole = make(B=7)[3][0][1]
    parts = make(B=7, accumulate=accumulate)[3]
    assert len(parts) == accumulate
    assert sum(weight for weight, _ in parts) == pytest.approx(1)
    assert torch.equal(torch.cat([part.inputs for _, part in parts]), whole.inputs)
    assert torch.equal(torch.cat([part.targets for _, part in parts]), whole.targets)
    assert np.array_equal(np.concatenate([part.starts for _, part in parts]), whole.starts)
    assert len({part.seed for _, part in parts}) == accumulate


def test_accumulated_gradients_are_those_of_the_whole_batch():
    def gradient(**more):
        torch.manual_seed(0)
        table = torch.randn(50, 50, dtype=torch.float64, requires_grad=True)
        batches = make(50, 5, 7, skip=[(3, 9), (30, 33)], **more)
        for weight, part in batches[2]:
            loss = torch.nn.functional.cross_entropy(
                table[part.inputs].flatten(0, 1), part.targets.flatten()
            )
            (weight * loss).backward()
        assert table.grad is not None
        return table.grad

    for accumulate in (2, 3, 7):
        torch.testing.assert_close(gradient(accumulate=accumulate), gradient())


@given(
    ranges=st.lists(st.tuples(st.integers(0, 210), st.integers(0, 40)), max_size=5),
    step=st.integers(0, 60),
    accumulate=st.integers(1, 4),
)
def test_skipped_positions_are_not_counted(ranges, step, accumulate):
    skip = [(start, start + length) for start, length in ranges]
    positions = {p for start, stop in skip for p in range(start, stop)}
    batches = make(200, 10, 4, accumulate=accumulate, skip=skip)
    plain = make(200, 10, 4)[step][0][1]
    expected = [
        [-100 if target in positions else target for target in row]
        for row in plain.targets.tolist()
    ]
    total = sum(target != -100 for row in expected for target in row)
    if total == 0:
        with pytest.raises(WhenceError, match=f"Step {step} has no token to learn from: all 40"):
            batches[step]
        return
    parts = batches[step]
    groups = [group for group in np.array_split(expected, accumulate) if (group != -100).any()]
    assert [part.targets.tolist() for _, part in parts] == [group.tolist() for group in groups]
    for weight, part in parts:
        counted = int((part.targets != -100).sum())
        assert counted > 0
        assert weight == counted / total
    assert sum(weight for weight, _ in parts) == pytest.approx(1)


def test_the_text_must_hold_a_window():
    assert make(9, 8).windows_per_epoch == 1
    with pytest.raises(
        WhenceError, match=r"has 8 training tokens, a window of context_length = 8 needs 9.* to 7"
    ):
        make(8, 8)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"T": 0}, "context_length = 0 is too small"),
        ({"B": 0}, "batch_size = 0 is too small"),
        ({"accumulate": 0}, "accumulate = 0 is too small"),
        ({"accumulate": 5}, "accumulate = 5 parts can't be made of batch_size = 4"),
    ],
)
def test_sizes_that_cannot_be(sizes, message):
    with pytest.raises(WhenceError, match=message):
        make(**sizes)


def test_steps_count_from_zero():
    with pytest.raises(WhenceError, match="Step -1 doesn't exist"):
        make()[-1]
