"""Answers come out of the wire as they went in, and as a reader written from its description."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from whence.studio.wire import DTYPES, pack, split, unpack

numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0))
)
keys = st.text().filter(lambda key: key != "$array")
answers = st.recursive(
    st.none() | st.booleans() | numbers | st.text() | arrays,
    lambda inner: st.lists(inner) | st.dictionaries(keys, inner),
    max_leaves=12,
)


def same(a, b) -> bool:
    if isinstance(a, np.ndarray):
        return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b and type(a) is type(b)


@given(answers)
def test_round_trip(answer):
    assert same(answer, unpack(pack(answer)))


@given(answers)
def test_layout(answer):
    """Read by the description alone: header, then each buffer at a multiple of 8."""
    data = pack(answer)
    (length,) = struct.unpack("<I", data[:4])
    text, buffers = split(answer)
    assert json.loads(data[4 : 4 + length]) == json.loads(text)
    place = -(-(4 + length) // 8) * 8
    for buffer in buffers:
        assert data[place : place + len(buffer)] == buffer
        place += -(-len(buffer) // 8) * 8
    assert place == len(data)


def test_numbers_that_json_lacks():
    answer = {"a": float("nan"), "b": [float("inf"), np.float32("-inf")], "c": 2**53 + 1}
    assert unpack(pack(answer)) == {"a": "nan", "b": ["inf", "-inf"], "c": "9007199254740993"}


def test_order_of_memory_does_not_matter():
    matrix = np.arange(6, dtype=np.int32).reshape(2, 3)
    assert unpack(pack(matrix.T)).tolist() == matrix.T.tolist()


@pytest.mark.parametrize("answer", [{1: 2}, {"$array": 0}, {3, 4}, np.zeros(2, np.complex64)])
def test_what_cannot_travel(answer):
    with pytest.raises(TypeError):
        pack(answer)
