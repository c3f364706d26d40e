"""Answers that compute are worked out in processes of their own, so that none waits for another's.

What a step depends on (threads, kernels, random numbers) are settings of a whole process: within
one, computing questions go one after the other. So each goes to a process that is free, if there is
one to the process that had the same run before, whose traces and models are at hand.
"""

import atexit
import json
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whence.errors import WhenceError

# The questions that compute; all others are answered by the studio's own process.
COMPUTED = {
    "strip", "prediction", "chat", "spoken", "flow", "cell", "matrix", "receipt", "attribution",
    "places", "names", "tracing", "play", "journey", "running", "doctor",
}  # fmt: skip
MOST = 4  # processes: a fifth question at the same time waits for one of four
HEAD = struct.Struct("<QBQ")  # of an answer: the question's number, what it is, its length
ANSWER, REFUSAL, BREAK = range(3)


@dataclass(eq=False)
class Member:
    """A process that answers.

    Attributes:
        process: it.
        asked: what it is busy with: a question's number → (what it is about, its answer).
        last: what it was asked about last.
        listening: hears its answers.
    """

    process: subprocess.Popen[bytes]
    asked: dict[int, tuple[tuple[str, ...], Future[bytes]]] = field(default_factory=dict)
    last: tuple[str, ...] = ()
    listening: threading.Thread | None = None

    def is_at(self, about: tuple[str, ...]) -> bool:
        """Tell whether it is busy with the same step of the same run, or text, or lesson."""
        return any(about == other for other, _ in self.asked.values())


class Crew:
    """The processes; they are started when they are needed, and end with the studio.

    Args:
        most: how many there are at most.

    Attributes:
        members: those that live.

    Example:
        >>> crew = Crew()
        >>> answer = crew.ask("play", {"data": "one"}, Path("runs"))
        >>> len(answer.result()) > 100
        True
        >>> crew.close()
    """

    def __init__(self, most: int = MOST):
        self.most, self.members = most, list[Member]()
        self._number = 0
        self._changing = threading.Lock()

    def ask(self, name: str, params: Mapping[str, Any], folder: Path) -> Future[bytes]:
        """Ask a question of `COMPUTED`.

        Returns:
            What becomes the answer, packed as `whence.studio.wire.pack` does; or raises the
            WhenceError by which it was refused.
        """
        about = _about(name, params)
        line = json.dumps({"name": name, "params": dict(params), "folder": str(folder)})
        answer: Future[bytes] = Future()
        answer.set_running_or_notify_cancel()  # a page that goes away takes no process with it
        with self._changing:
            member = self._chosen(about)
            self._number += 1
            member.asked[self._number] = about, answer
            if name not in ("tracing", "running"):
                member.last = about
            stdin = member.process.stdin
            assert stdin
            with suppress(OSError):  # it has just ended: who listens to it says so
                stdin.write(f"{self._number} {line}\n".encode("ascii"))
                stdin.flush()
        return answer

    def warm(self) -> None:
        """Start the first process, so that the first question needn't wait for it."""
        with self._changing:
            if not self.members:
                self._started()

    def close(self) -> None:
        """End all processes, whatever they are at."""
        with self._changing:
            members, self.members = self.members, []
        for member in members:
            member.process.kill()
        for member in members:
            if member.listening:
                member.listening.join()

    def _chosen(self, about: tuple[str, ...]) -> Member:
        for member in self.members:
            if member.is_at(about):  # it works that out already
                return member
        free = [member for member in self.members if not member.asked]
        for alike in (about, about[:2]):  # the same step, else the same run
            for member in free:
                if member.last[: len(alike)] == alike:
                    return member
        if not free and len(self.members) < self.most:
            free = [self._started()]
        return min(free or self.members, key=lambda member: len(member.asked))

    def _started(self) -> Member:
        process = subprocess.Popen(
            [sys.executable, "-m", "whence.studio.member", str(self.most)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # The terminal's Ctrl-C isn't for it.
            start_new_session=sys.platform != "win32",
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        member = Member(process)
        member.listening = threading.Thread(target=self._listen, args=(member,), daemon=True)
        member.listening.start()
        self.members.append(member)
        return member

    def _listen(self, member: Member) -> None:
        stdin, stdout = member.process.stdin, member.process.stdout
        assert stdin
        assert stdout
        while len(head := stdout.read(HEAD.size)) == HEAD.size:
            number, kind, length = HEAD.unpack(head)
            body = stdout.read(length)
            if len(body) < length:
                break
            with self._changing:
                _, answer = member.asked.pop(number)
            if kind == ANSWER:
                answer.set_result(body)
            elif kind == REFUSAL:
                answer.set_exception(WhenceError(body.decode("utf-8", "surrogatepass")))
            else:
                answer.set_exception(RuntimeError(body.decode("utf-8", "replace")))
        code = member.process.wait()
        stdout.close()
        with self._changing:
            with suppress(OSError):  # what it was told last may still lie in the buffer
                stdin.close()
            if member in self.members:
                self.members.remove(member)
            left = list(member.asked.values())
            member.asked.clear()
        for _, answer in left:
            answer.set_exception(
                WhenceError(
                    f"The process that was computing this ended with code {code}; it may have run "
                    "out of memory. Try again, or ask for less."
                )
            )


def _about(name: str, params: Mapping[str, Any]) -> tuple[str, ...]:
    """What a question is about, from the coarse to the fine: two that agree share their work."""
    if name in ("play", "journey", "running"):
        return "play" if name == "play" else "journey", str(
            params.get("data", params.get("lesson", ""))
        )
    step = params.get("at", params.get("step"))
    return "run", str(params.get("run")), str(step), str(params.get("text", ""))


CREW = Crew()
atexit.register(CREW.close)
