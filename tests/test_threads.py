"""How PyTorch's threads wait, which must be said before PyTorch is loaded."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("own", "found"),
    [
        ({}, "4000 None"),
        ({"GOMP_SPINCOUNT": "7"}, "7 None"),
        ({"OMP_WAIT_POLICY": "passive"}, "None passive"),
    ],
)
def test_a_short_spin_is_set_unless_the_user_chose(own, found):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    code = (
        "import whence, sys, os; assert 'torch' not in sys.modules;"
        "print(os.environ.get('GOMP_SPINCOUNT'), os.environ.get('OMP_WAIT_POLICY'))"
    )
    src = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, "PYTHONPATH": src, **own},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == found.split()
