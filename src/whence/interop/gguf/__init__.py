"""GGUF files: read and written, tensors and tokenizer."""
