"""Settings for property tests: a busy machine is no failure."""

from hypothesis import settings

settings.register_profile("whence", deadline=None)
settings.load_profile("whence")
