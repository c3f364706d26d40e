"""What a page can have done: start, pause, step, resume, stop, fork and remove."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from whence.data.files import written_whole
from whence.errors import WhenceError, shell_word
from whence.fields import nearest
from whence.runs.fork import changed_recipe
from whence.runs.run import Run
from whence.runs.store.files import cannot_write, open_file
from whence.runs.training.control import ask
from whence.runs.training.creation import at_free
from whence.runs.upkeep.removal import run_to_remove
from whence.runs.upkeep.tags import set_tags
from whence.studio.answers import call
from whence.studio.answers.place import open_run, path_of, python_path
from whence.studio.answers.training.recipe import make_recipe, stem, text_name, ways, with_source
from whence.studio.answers.training.runs import curves_of
from whence.studio.processes import maker, worker
from whence.studio.texts import Texts

LARGEST_TEXT = 20_000_000  # bytes; larger ones are cut into BPE tokens, which takes minutes


def start(
    texts: Texts,
    *,
    source: str = "topics",
    text: str | None = None,
    named: str = "",
    model: str = "gpt",
    settings: dict | None = None,
    out: str = "",
    paused: bool = False,
) -> dict[str, Any]:
    """Make a run and train it in a process of its own.

    Args:
        texts: what the page may train on, and the folder of runs.
        source: a text of the form's list, or `text`.
        text: the text itself, for `text`; it is kept in the folder's `texts`.
        named: what to call it.
        model: a name in `MODELS`.
        settings: dotted fields of the recipe → values.
        out: the run's name; none: one made from the text's.
        paused: wait before the first step.
    """
    folder = texts.folder
    made = make_recipe(source, model, settings or {}, texts)
    if source == "text":
        made = with_source(made, _kept(texts, text or "", named).as_posix())
        texts.check(made.data.source)
    run = _at(folder, out, stem(source, named), lambda path: maker.create(made, path))
    worker.start(run, pause_at=0 if paused else None)
    return {"run": run.name, **ways(made, model, run.path)}


def _at(folder: Path, out: str, name: str, make: Callable[[Path], Run]) -> Run:
    """Make a run at the requested path, or at the next free one."""
    return make(path_of(folder, out)) if out else at_free(folder, name, make)


def _kept(texts: Texts, text: str, named: str) -> Path:
    """Write a text where its run, and a command, can find it; the same text is kept once."""
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise WhenceError("the text contains half a character (a lone surrogate).") from error
    if not text.strip():
        raise WhenceError("there is no text: paste some, or choose a file.")
    if len(data) > LARGEST_TEXT:
        raise WhenceError(
            f"the text has {len(data):,} bytes and the page takes at most {LARGEST_TEXT:,}: train "
            "it with 'whence train FILE'; the run will appear here."
        )
    wanted = texts.kept / text_name(named)
    try:
        wanted.parent.mkdir(parents=True, exist_ok=True)
        path, number = wanted, 1
        while os.path.lexists(path) and not _holds(path, data):
            number += 1
            path = wanted.with_stem(f"{wanted.stem}-{number}")
        if not os.path.lexists(path):
            with written_whole(path) as file:
                file.write(data)
    except OSError as error:
        raise cannot_write(wanted, error) from error
    return path


def _holds(path: Path, data: bytes) -> bool:
    """Whether a stored text is this one; a pipe or a link isn't ours."""
    if path.is_symlink() or not path.is_file():
        return False
    with open_file(path) as file:
        return file.read(len(data) + 1) == data


def resume(folder: Path, *, run: str, steps: int | None = None) -> dict[str, Any]:
    """Go on with a run from its last checkpoint.

    Args:
        folder: the folder of runs.
        run: the run's name.
        steps: its new length; none: as its recipe says.
    """
    opened = open_run(folder, run)
    worker.start(opened, steps)
    more = f" --steps {steps}" if steps else ""
    return {
        "run": run,
        "python": "from whence import Run; "
        f"list(map(print, Run.open({python_path(opened.path)}).train({steps or ''})))",
        "shell": f"whence resume {shell_word(opened.path)}{more}",
    }


def play(folder: Path, *, run: str) -> dict[str, Any]:
    """Go on, or begin, as fast as the pace lets it."""
    return _wish(folder, run, "--play", pause_at=None) or resume(folder, run=run)


def pause(folder: Path, *, run: str) -> dict[str, Any]:
    """Wait before the next step."""
    done = _wish(folder, run, "--pause", pause_at=0)
    if done is None:
        raise WhenceError(f"no process is training {run}.")
    return done


def step(folder: Path, *, run: str) -> dict[str, Any]:
    """Do one step, then wait."""
    opened = open_run(folder, run)
    curves = curves_of(opened.path)
    curves.refresh()
    done = _wish(folder, run, "--step", pause_at=curves.n_steps + 1)
    if done is None:
        worker.start(opened, pause_at=curves.n_steps + 1)
        done = _asked(opened, "--step", {"pause_at": curves.n_steps + 1})
    return done


def pace(folder: Path, *, run: str, steps_per_second: float | None = None) -> dict[str, Any]:
    """Do at most so many steps a second; none: as fast as it goes."""
    opened = open_run(folder, run)
    ask(opened.path, pace=steps_per_second)
    return _asked(opened, f"--pace {steps_per_second or 0:g}", {"pace": steps_per_second})


def stop(folder: Path, *, run: str) -> dict[str, Any]:
    """Save after this step, and end."""
    done = _wish(folder, run, "--stop", stop=True)
    if done is None:
        raise WhenceError(f"no process is training {run}.")
    return done


def _wish(folder: Path, run: str, flag: str, **wishes: Any) -> dict[str, Any] | None:
    """Send a request to the training in progress; None if there is none."""
    opened = open_run(folder, run)
    state, _ = worker.state_of(opened, curves_of(opened.path))
    if state not in ("training", "paused", "starting"):
        return None
    ask(opened.path, **wishes)
    return _asked(opened, flag, wishes)


def _asked(run: Run, flag: str, wishes: Mapping[str, Any]) -> dict[str, Any]:
    given = ", ".join(f"{name}={value!r}" for name, value in wishes.items())
    return {
        "run": run.name,
        "python": f"whence.runs.training.control.ask(Path({python_path(run.path)}), {given})",
        "shell": f"whence control {shell_word(run.path)} {flag}",
    }


def fork(
    texts: Texts,
    *,
    run: str,
    step: int,
    out: str = "",
    changes: dict | None = None,
    paused: bool = False,
) -> dict[str, Any]:
    """Make a run that shares another's past up to a step, and train it.

    Args:
        texts: what the page may train on, and the folder of runs.
        run: the run's name.
        step: the first step that may differ.
        out: the new run's name; none: one made from the other's.
        changes: dotted fields of the recipe → values.
        paused: wait before the first step.
    """
    folder = texts.folder
    opened = open_run(folder, run)
    opened.refuse_counted()
    data, own = changed_recipe(opened, step, changes or {}).data, opened.recipe.data
    if (data.source, data.validation_source) != (own.source, own.validation_source):
        texts.check([*data.source, *data.validation_source])  # else its tokens are copied
    settings = changes or {}
    made = _at(folder, out, f"{run}-fork", lambda path: maker.fork_of(opened, step, path, settings))
    path = made.path
    worker.start(made, pause_at=step if paused else None)
    words = [f"{name.replace('_', '-')}={v}" for name, v in settings.items()]
    flags = "".join(f" --set {shell_word(word)}" for word in words)
    parent = f"Run.open({python_path(opened.path)})"
    return {
        "run": made.name,
        "python": f"fork({parent}, {step}, {python_path(path)}, {settings!r})",
        "shell": f"whence fork {shell_word(opened.path)} --step {step} --out {shell_word(path)}"
        + flags,
    }


def remove(folder: Path, *, run: str) -> dict[str, Any]:
    """Delete what a run made in its folder, damaged or not; `left` names what else is in it."""
    path = path_of(folder, run)
    left = run_to_remove(path).remove()
    return {
        "run": run,
        "left": left,
        "python": f"Run.open({python_path(path)}).remove()",
        "shell": f"whence runs remove {shell_word(path)}",
    }


def tag(folder: Path, *, run: str, tags: list | None = None) -> dict[str, Any]:
    """Give a run tags, in place of those it had."""
    path = path_of(folder, run)
    found = set_tags(path, [str(each) for each in tags or []])
    words = "".join(f" {shell_word(each)}" for each in found)
    return {
        "run": run,
        "tags": found,
        "python": "from pathlib import Path; from whence.runs.upkeep.tags import set_tags; "
        f"set_tags(Path({python_path(path)}), {found!r})",
        "shell": f"whence runs tag {shell_word(path)}{words}",
    }


COMMANDS: dict[str, Callable[..., dict[str, Any]]] = {
    "start": start,
    "resume": resume,
    "play": play,
    "pause": pause,
    "step": step,
    "pace": pace,
    "stop": stop,
    "fork": fork,
    "remove": remove,
    "tag": tag,
}


def command(name: str, params: Mapping[str, Any], place: Path | Texts) -> dict[str, Any]:
    """Do what a page asks for.

    Args:
        name: one of `COMMANDS`.
        params: its parameters, JSON values.
        place: as of `whence.studio.answers.answer`.

    Returns:
        The run's name, and `python` and `shell`: the line and the command that do the same.

    Raises:
        WhenceError: for a command or parameter that isn't known, and whatever the command refuses.

    Example:
        >>> command("sotp", {}, Path("runs"))
        Traceback (most recent call last):
        ...
        whence.errors.WhenceError: there is no command 'sotp': did you mean stop?
    """
    if name not in COMMANDS:
        raise WhenceError(f"there is no command {name!r}{nearest(name, COMMANDS)}")
    return call(COMMANDS[name], params, place)
