"""Writing with a trained model: sampling, the key-value cache, streaming."""

from whence.generate.generate import Event, generate, stream
from whence.generate.inference import evaluating, inference
from whence.generate.sampling import Candidate, Distribution, Sampling, filter_logits

__all__ = [
    "Candidate",
    "Distribution",
    "Event",
    "Sampling",
    "evaluating",
    "filter_logits",
    "generate",
    "inference",
    "stream",
]
