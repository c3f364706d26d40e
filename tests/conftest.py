"""Loaded ahead of every test."""

import atexit
import os
import shutil
import tempfile

from hypothesis import HealthCheck, settings

from whence.scale.process import tune_process

os.environ["WHENCE_CACHE"] = tempfile.mkdtemp()  # the user's own stays as it is
atexit.register(shutil.rmtree, os.environ["WHENCE_CACHE"], ignore_errors=True)

# That a machine is busy is no failure of a property.
settings.register_profile("whence", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("whence")

tune_process()  # before PyTorch, for the threads of two test processes: decision 044
