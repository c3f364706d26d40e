"""The finished run that tests read and don't change."""

from tests.runs.conftest import whole, whole_path

__all__ = ["whole", "whole_path"]
