"""What the process that cuts text by rules of others does; see `whence.data.bounded`."""

from collections.abc import Mapping
from typing import Any

from tokenizers import Tokenizer

_OPEN: dict[str, Tokenizer] = {}


def answered(request: Mapping[str, Any]) -> dict[str, Any]:
    """Open tokenizers by name, or cut a `text` with the one that is named."""
    try:
        if "open" in request:
            for name, file in request["open"].items():
                _OPEN[name] = Tokenizer.from_str(file)
            return {}
        found = _OPEN[request["name"]].encode(request["text"], add_special_tokens=request["whole"])
        return {"ids": found.ids, "special": found.special_tokens_mask}
    except Exception as error:  # it raises nothing narrower; what a rule breaks is worse than that
        said = f"can't be read ({error})" if "open" in request else f"refuses this text ({error})"
        return {"error": said, "refused": True}
