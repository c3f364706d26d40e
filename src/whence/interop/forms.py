"""The forms that a model goes out in, and the numbers in them."""

from typing import Literal

Form = Literal["hf", "gguf", "safetensors", "onnx"]
Dtype = Literal["auto", "fp32", "fp16", "bf16", "q8_0", "q4_0"]
