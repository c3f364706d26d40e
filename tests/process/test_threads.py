"""How PyTorch's threads wait is set by our command alone, and before PyTorch is loaded."""

import os
import subprocess
import sys

import pytest


def found(code: str, **own: str) -> list[str]:
    """What a program finds in its environment once it has done something."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    told = "print(os.environ.get('GOMP_SPINCOUNT'), os.environ.get('OMP_WAIT_POLICY'))"
    done = subprocess.run(
        [sys.executable, "-c", f"import os, sys\n{code}\n{told}"],
        env={**clean, "PYTHONPATH": os.pathsep.join(sys.path), **own},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()[-2:]


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, ["4000", "None"]),
        ({"GOMP_SPINCOUNT": "7"}, ["7", "None"]),
        ({"OMP_WAIT_POLICY": "passive"}, ["None", "passive"]),
    ],
)
def test_the_command_sets_a_short_spin_unless_the_user_chose(own, expected):
    code = (
        "sys.argv = ['whence', '--version']\n"
        "from whence.cli import main\n"
        "main()\n"
        "assert 'torch' not in sys.modules"
    )
    assert found(code, **own) == expected


def test_a_program_that_imports_whence_keeps_its_own():
    assert found("import whence\nwhence.Run, whence.Value") == ["None", "None"]
    assert found("from whence.cli import main\nmain(['--version'])") == ["None", "None"]
