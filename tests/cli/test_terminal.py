"""What a person at a real terminal meets: questions, and Ctrl-C as the terminal sends it."""

import os
import select
import shutil
import subprocess
import sys
import time

import pytest

from tests.cli.command import SOURCE, TINY
from whence.runs.run import Run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pty")

# The terminal becomes the process's own, so that its Ctrl-C reaches it as a signal; what a script
# in the background passes on, a SIGINT that is ignored, is undone.
OWN_TERMINAL = (
    "import fcntl, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from whence.cli import main; sys.exit(main(sys.argv[1:]))"
)


class Terminal:
    """A command in a pseudo-terminal: what it printed so far, and keys to press."""

    def __init__(self, *words: object):
        import pty

        self.fd, theirs = pty.openpty()
        self.printed = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWN_TERMINAL, *map(str, words)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONUTF8": "1", "COLUMNS": "200"},
        )
        os.close(theirs)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.fd)

    def read_until(self, text: str | None = None, seconds: float = 300, again: str = "") -> str:
        """Read until a text has appeared, or else to the end.

        `again` is pressed anew after each 5 silent seconds, as a person would: a Ctrl-C between
        Python's last look for signals and its read from the terminal waits for the next key.
        """
        end = time.monotonic() + seconds
        while text is None or text not in self.printed:
            assert time.monotonic() < end, self.printed
            if not select.select([self.fd], [], [], 5)[0]:
                self.press(again)
                continue
            try:
                more = os.read(self.fd, 1 << 16)
            except OSError:  # how Linux says that the other end is closed
                more = b""
            if not more:
                assert text is None, self.printed
                break
            self.printed += more.decode("utf-8", errors="replace")
        return self.printed

    def press(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def end(self, again: str = "") -> int:
        """Read the rest; give the exit code."""
        self.read_until(again=again)
        return self.process.wait(timeout=300)


@pytest.fixture
def runs(trained, tmp_path):
    """Two runs that may be removed."""
    return [shutil.copytree(trained, tmp_path / name) for name in ("one", "two")]


def test_removing_asks_for_each_run(runs):
    with Terminal("runs", "remove", *runs) as terminal:
        assert f"delete {runs[0]} (" in terminal.read_until("[y/N] ")
        terminal.press("\r")
        terminal.read_until(f"kept {runs[0]}")
        terminal.read_until(f"delete {runs[1]} (")
        terminal.press("y\r")
        assert terminal.end() == 0
        assert f"removed {runs[1]}" in terminal.printed
    assert Run.open(runs[0]).steps
    assert not runs[1].exists()


@pytest.mark.parametrize("key", ["\x03", "\x04"], ids=["Ctrl-C", "Ctrl-D"])
def test_leaving_the_question_removes_nothing(key, runs):
    with Terminal("runs", "remove", runs[0]) as terminal:
        terminal.read_until("[y/N] ")
        terminal.press(key)
        assert terminal.end(again=key) == (130 if key == "\x03" else 0)
        assert "Traceback" not in terminal.printed
    assert Run.open(runs[0]).steps


def test_ctrl_c_in_a_terminal_saves_the_run(text_file, tmp_path):
    out = tmp_path / "run"
    words = ["train", text_file, "--out", out, "--steps", 100_000, *TINY]
    with Terminal(*words) as terminal:
        lines = out / "steps.jsonl"
        end = time.monotonic() + 300
        while not lines.exists() or len(lines.read_text(encoding="utf-8")) < 2000:
            assert time.monotonic() < end
            if select.select([terminal.fd], [], [], 0.05)[0]:
                terminal.printed += os.read(terminal.fd, 1 << 16).decode("utf-8", "replace")
        terminal.press("\x03")
        assert terminal.end() == 0
        assert f"whence resume {out}" in terminal.printed.replace("\r\n", "\n")
    run = Run.open(out)
    assert run.state == "stopped"
    assert run.checkpoints[-1] == len(run.steps)
