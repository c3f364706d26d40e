"""The process of `bounded`: run as a script, it answers a line with a line.

It imports nothing of whence, so that it starts at once.
"""

import importlib.util
import json
import math
import sys
from contextlib import suppress
from typing import Any


def main(script: str) -> None:
    """Answer each line of standard input by the script's function `answered`."""
    spec = importlib.util.spec_from_file_location("script", script)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        answer = json.dumps(answered(module, **asked), ensure_ascii=False)
        sys.stdout.buffer.write(answer.encode("utf-8", "surrogatepass") + b"\n")
        sys.stdout.buffer.flush()


def answered(module: Any, bounds: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    """Return the script's answer, or as `error` why there is none."""
    try:
        bound(**bounds)
        return module.answered(request)
    except MemoryError:
        return {"error": "it takes too much memory"}
    except BaseException as error:  # whatever others wrote does; a panic in Rust is no Exception
        return {"error": str(error).strip().rstrip(".") or type(error).__name__}


def bound(seconds: float, memory: int) -> None:
    """Let the process take so many more seconds of computing, and so much memory in all."""
    try:
        import resource as r
    except ImportError:  # Windows, where the time on the clock alone is bounded
        return
    used = r.getrusage(r.RUSAGE_SELF)
    last = math.ceil(used.ru_utime + used.ru_stime + seconds)
    for which, most in ((r.RLIMIT_CPU, last), (r.RLIMIT_AS, memory), (r.RLIMIT_CORE, 0)):
        with suppress(ValueError, OSError):  # where the system's own bound is lower
            r.setrlimit(which, (most, r.getrlimit(which)[1]))


if __name__ == "__main__":
    main(sys.argv[1])
