"""Points of two classes: where they lie without noise."""

import math

import pytest

from whence.data.made.points import points


def test_the_spirals_arms_wind_one_and_six_tenths_times_and_are_each_others_mirror():
    found = points("spiral", 400, noise=0.0)
    for (x, y), label in zip(*found, strict=True):
        turn = math.hypot(x, y) / 1.2
        assert 0.0999 < turn < 1.0001
        away = math.atan2(x, y) - 3.2 * math.pi * turn - math.pi * label
        assert math.cos(away) == pytest.approx(1, abs=1e-9)
