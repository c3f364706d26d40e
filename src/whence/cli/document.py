"""What `--json` prints: JSON that any strict reader takes."""

import json
import math
from typing import Any


def strict(record: Any, indent: int | None = None) -> str:
    """Write a record as JSON; a number that isn't finite becomes null, which JSON has.

    JSON knows neither NaN nor Infinity: a reader in another language refuses the whole document.

    Example:
        >>> strict({"loss": math.nan, "bits": [1.5, math.inf]})
        '{"loss": null, "bits": [1.5, null]}'
    """
    return json.dumps(_finite(record), ensure_ascii=False, allow_nan=False, indent=indent)


def _finite(part: Any) -> Any:
    if isinstance(part, float):
        return part if math.isfinite(part) else None
    if isinstance(part, dict):
        return {key: _finite(x) for key, x in part.items()}
    if isinstance(part, list | tuple):
        return [_finite(x) for x in part]
    return part
