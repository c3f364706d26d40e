"""Loaded ahead of every test."""

import atexit
import os
import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, settings

from whence.scale.process import tune_process

os.environ["WHENCE_CACHE"] = tempfile.mkdtemp()  # the user's own stays as it is
atexit.register(shutil.rmtree, os.environ["WHENCE_CACHE"], ignore_errors=True)

# That a machine is busy is no failure of a property.
settings.register_profile("whence", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("whence")
# In CI the same examples each time: a change is judged by what it changed (`.ci/run`).
settings.register_profile("same", settings.get_profile("whence"), derandomize=True)

tune_process()  # before PyTorch, for the threads of two test processes: decision 044


class Failures:
    """Writes what failed as it fails: a suite that is stopped half-way has said what it found."""

    def __init__(self, terminal):
        self.terminal = terminal

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.terminal.write_line(
                f"\n{report.when} of {report.nodeid} after {report.duration:.0f} s"
            )
            self.terminal.write_line(report.longreprtext)


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    """In the process that talks to the terminal."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Failures(terminal))
