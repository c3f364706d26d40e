"""Loaded ahead of every test."""

import atexit
import os
import shutil
import tempfile

from whence.scale.process import tune_process

os.environ["WHENCE_CACHE"] = tempfile.mkdtemp()  # the user's own stays as it is
atexit.register(shutil.rmtree, os.environ["WHENCE_CACHE"], ignore_errors=True)

tune_process()  # before PyTorch, for the threads of two test processes: decision 044
