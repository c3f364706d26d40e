"""A process that works out answers for the studio; `whence.studio.crew` starts it.

`python -m whence.studio.member N` reads questions from standard input, a number and JSON
on a line, and writes the answers to standard output as they come. It ends when its input does. N
processes of its kind share the memory that traces may take.
"""

import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import BinaryIO

from whence.errors import WhenceError
from whence.studio.answers import answer
from whence.studio.answers.inside.traces import KEPT
from whence.studio.crew import ANSWER, BREAK, HEAD, REFUSAL
from whence.studio.wire import pack


def _work_out(line: bytes) -> tuple[int, int, bytes]:
    number, _, question = line.partition(b" ")
    try:
        asked = json.loads(question)
        return (
            int(number),
            ANSWER,
            pack(answer(asked["name"], asked["params"], Path(asked["folder"]))),
        )
    except WhenceError as error:
        return int(number), REFUSAL, str(error).encode("utf-8", "surrogatepass")
    except Exception:  # a fault of ours: the studio tells it as if it had happened there
        return int(number), BREAK, traceback.format_exc().encode("utf-8", "replace")


def _ready() -> None:
    """Load what PyTorch loads when a step is first recorded, about a second, before it is asked."""
    import torch._dynamo  # noqa: F401  # loading it is the point


def main(n: int) -> None:
    """Answer until the studio has gone."""
    KEPT.shared_by = n
    out: BinaryIO = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what an answer prints isn't part of it
    writing = threading.Lock()

    def reply(line: bytes) -> None:
        number, kind, body = _work_out(line)
        with writing:
            out.write(HEAD.pack(number, kind, len(body)) + body)
            out.flush()

    threading.Thread(target=_ready, daemon=True).start()
    for line in sys.stdin.buffer:
        # A thread for each, so that one can be asked how far another has come.
        threading.Thread(target=reply, args=(line,), daemon=True).start()
    os._exit(0)  # whatever is being worked out, nobody waits for it


if __name__ == "__main__":
    main(int(sys.argv[1]))
