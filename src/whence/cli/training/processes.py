"""Many processes for one training, started by torchrun's own launcher, with one-line errors."""

import logging
import os
import signal
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from whence.errors import WhenceError, shell_word
from whence.scale.team import Team, is_one_of_many, join, leave

TOLD = "WHENCE_LAUNCHER"  # set where the launcher will say what went wrong


def check_processes(processes: int, restarts: int) -> None:
    """Refuse impossible numbers of processes and restarts.

    Raises:
        WhenceError: saying which.
    """
    if not 1 <= processes <= 1024:
        raise WhenceError(f"--processes is {processes}: give 1 to 1024.")
    if restarts < 0:
        raise WhenceError(f"--restarts is {restarts}: give 0 or more.")


def launch(words: Sequence[str], processes: int, restarts: int, run: Path) -> None:
    """Start `whence` with these words in several processes, as torchrun does, and wait for them.

    Args:
        words: the command's, such as `train`, `my.txt`.
        processes: how many on this machine.
        restarts: how often all are started again when one dies; they go on from the last
            checkpoint.
        run: the run's folder.

    Raises:
        WhenceError: where a process died.
    """
    # With PyTorch, which is loaded only here.
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    cores = os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // processes)))
    os.environ[TOLD] = "1"
    # A store of its own for each start: the shared one keeps the addresses of those that died.
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    for name in ("torch.distributed", "torch"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # Ctrl-C reaches all processes at once: the leader saves and ends, and the launcher waits.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=restarts,
        signals_to_handle="SIGTERM",
    )
    command = [sys.executable, "-m", "whence", *words]
    try:
        elastic_launch(config, command[0])(*command[1:])
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode == 2:  # said by the process itself
            raise SystemExit(2) from None
        raise WhenceError(_died(rank, processes, failure.exitcode, run)) from None


def _died(rank: int, processes: int, code: int, run: Path) -> str:
    how = f"was killed (signal {-code})" if code < 0 else f"ended with exit code {code}"
    again = f"'whence resume {shell_word(run)} --processes {processes}' goes on"
    there = again + " from the last checkpoint" if (run / "run.toml").is_file() else "train again"
    return f"process {rank} of {processes} {how}, and the others were ended: {there}."


@contextmanager
def together(device: str) -> Iterator[Team | None]:
    """Give this process's place where torchrun started it, and None where it is alone.

    Args:
        device: what the run is to be computed on.

    Raises:
        WhenceError: where another process has died.
    """
    if not is_one_of_many():
        yield None
        return
    if TOLD in os.environ:  # the launcher ends the others when one has died
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    team = join(device)
    try:
        yield team
    except RuntimeError as error:
        if not lost(error):
            raise
        if TOLD in os.environ or not team.leads:
            raise SystemExit(3) from None
        raise WhenceError(
            f"process {team.rank} of {team.size} lost contact with another one, which died or "
            "can't be reached: restart all of them with 'resume', which continues from the last "
            "checkpoint."
        ) from error
    except BaseException:
        _end(team)
        raise
    _end(team)


def _end(team: Team) -> None:
    """Release the followers, and leave the group of processes."""
    if team.leads:
        team.end()
    leave()


def lost(error: BaseException) -> bool:
    """Tell whether an error says that another process is gone, as gloo and NCCL say it.

    Example:
        >>> lost(RuntimeError("Connection closed by peer [127.0.0.1]:4242"))
        True
    """
    said = str(error).lower()
    words = ("connection closed", "connection reset", "gloo", "nccl", "broken pipe", "socket")
    return any(word in said for word in words)


def is_restarted() -> bool:
    """Tell whether torchrun has started this process again after one died.

    Example:
        >>> is_restarted()
        False
    """
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
