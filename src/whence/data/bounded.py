"""A process in which what others wrote is run within bounds of time and memory."""

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from weakref import WeakSet

PATIENCE = 60.0  # seconds on the clock at least, where the machine is busy with other things
SLOWER = 12  # times as long on the clock as in computing


class BoundedProcess:
    """A process that is started when it is first asked, and kept; ended, it is started again.

    Time and memory are bounded by the system, which ends the process: no check in Python could be
    complete. Computing is counted, not time on the clock, so a busy machine ends no honest request;
    where the system has no such bounds (Windows), time on the clock is left.

    Args:
        script: a file whose function `answered` is given each request. It can't import whence.
        memory: bytes that the process may take.
        first: what each new process is asked before all else, with its seconds of computing.

    Example:
        >>> BoundedProcess(Path("script.py"), 1 << 30).ask({"n": 1}, 5.0)  # doctest: +SKIP
        {'text': 'one'}
    """

    def __init__(
        self, script: Path, memory: int, first: tuple[Mapping[str, Any], float] | None = None
    ):
        self.script, self.memory, self.first = script, memory, first
        self.forget()
        _ALL.add(self)

    def forget(self) -> None:
        """Begin without a process: a fork doesn't have its parent's."""
        self._lock = threading.Lock()
        self._open: subprocess.Popen[bytes] | None = None

    def ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any] | None:
        """Return the answer to a request, None where the process was ended before there was one.

        Args:
            request: for the script.
            seconds: of computing that it may take.

        Returns:
            What the script answers; where it fails, `error` says why.
        """
        with self._lock:
            if self._open is None or self._open.poll() is not None:
                self.end()
                self._open = self._started()
                answer = self._exchange(*self.first) if self.first else {}
                if answer is None or "error" in answer:
                    self.end()
                    return answer
            return self._exchange(request, seconds)

    def _exchange(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any] | None:
        assert self._open
        stdin, stdout = self._open.stdin, self._open.stdout
        assert stdin
        assert stdout
        bounds = {"seconds": seconds, "memory": self.memory}
        line = json.dumps({"bounds": bounds, "request": request}).encode() + b"\n"
        late = threading.Timer(max(PATIENCE, SLOWER * seconds), self._open.kill)
        late.start()
        answer = b""
        try:
            stdin.write(line)
            stdin.flush()
            answer = stdout.readline()
        except BrokenPipeError:
            pass
        finally:
            late.cancel()
            if not answer.endswith(b"\n"):  # also where we are interrupted
                self.end()
        return json.loads(answer) if answer.endswith(b"\n") else None

    def _started(self) -> "subprocess.Popen[bytes]":
        child = Path(__file__).with_name("bounded_child.py")
        return subprocess.Popen(
            # -P: what lies beside the script isn't imported
            [sys.executable, "-P", str(child), str(self.script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us
        )

    def end(self) -> None:
        """End the process, if there is one."""
        ended, self._open = self._open, None
        if ended is not None:
            ended.kill()
            ended.communicate()

    __del__ = end


_ALL: WeakSet[BoundedProcess] = WeakSet()


def _each(do: str) -> None:
    for process in list(_ALL):
        getattr(process, do)()


atexit.register(_each, "end")
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _each("forget"))
