"""The questions that a view can ask, and the functions that answer them."""

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from whence.errors import WhenceError
from whence.fields import fit, nearest
from whence.studio.answers.chat import chat, spoken
from whence.studio.answers.inside.asking import tensor_names, tracing
from whence.studio.answers.inside.cell import cell, matrix
from whence.studio.answers.inside.flow import flow
from whence.studio.answers.inside.prediction import prediction
from whence.studio.answers.inside.receipt import attribution, places, receipt
from whence.studio.answers.journey import journey, running
from whence.studio.answers.play import play
from whence.studio.answers.step import step
from whence.studio.answers.training.compare import compare
from whence.studio.answers.training.doctor import doctor
from whence.studio.answers.training.live import live
from whence.studio.answers.training.points import points
from whence.studio.answers.training.recipe import form, recipe
from whence.studio.answers.training.runs import runs
from whence.studio.answers.training.strip import strip
from whence.studio.texts import Texts

# A view's name → a function of the folder of runs and of the view's parameters.
ANSWERS: dict[str, Callable[..., dict[str, Any]]] = {
    "runs": runs,
    "form": form,
    "recipe": recipe,
    "compare": compare,
    "live": live,
    "points": points,
    "doctor": doctor,
    "play": play,
    "journey": journey,
    "running": running,
    "step": step,
    "strip": strip,
    "prediction": prediction,
    "chat": chat,
    "spoken": spoken,
    "flow": flow,
    "cell": cell,
    "matrix": matrix,
    "receipt": receipt,
    "attribution": attribution,
    "places": places,
    "names": tensor_names,
    "tracing": tracing,
}


def answer(name: str, params: Mapping[str, Any], place: Path | Texts) -> dict[str, Any]:
    """Answer a view's question with plain data.

    Args:
        name: one of `ANSWERS`.
        params: the question's parameters, JSON values.
        place: the folder of runs; with the texts that a page may have trained on.

    Returns:
        JSON values, and NumPy arrays anywhere in them; always with `python` and `shell`, the line
        and the command that give the same.

    Raises:
        WhenceError: for a question or parameter that isn't known (the nearest is named), a value
            that doesn't fit, and whatever the answer itself refuses.

    Example:
        >>> answer("runs", {}, Path("there is no such folder"))["runs"]
        []
    """
    if name not in ANSWERS:
        raise WhenceError(f"there is no view {name!r}{nearest(name, ANSWERS)}")
    return call(ANSWERS[name], params, place)


def call(
    function: Callable[..., dict[str, Any]], params: Mapping[str, Any], place: Path | Texts
) -> dict[str, Any]:
    """Call an answer or a command; those that train on texts are told which ones they may read.

    Raises:
        WhenceError: as `checked`, and what the function refuses.
    """
    texts = place if isinstance(place, Texts) else Texts(place)
    given = checked(function, params)
    first = next(iter(inspect.signature(function).parameters))
    return function(texts if first == "texts" else texts.folder, **given)


def checked(function: Callable[..., Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Check parameters against a function's signature; its first parameter isn't one of them.

    Raises:
        WhenceError: naming the parameter; or where a text holds half a character, which nothing
            can be named by or written as.

    Example:
        >>> checked(live, {"run": "mine", "buckets": "many"})
        Traceback (most recent call last):
        ...
        whence.errors.WhenceError: buckets is 'many': it must be a whole number.
    """
    try:
        json.dumps(dict(params), ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise WhenceError(
            "a text of the request contains half a character (a lone surrogate): send valid "
            "Unicode."
        ) from error
    hints = get_type_hints(function)
    known = list(inspect.signature(function).parameters.values())[1:]
    names = [p.name for p in known]
    for name in params:
        if name not in names:
            raise WhenceError(f"{name} isn't a parameter here{nearest(name, names)}")
    for p in known:
        if p.default is p.empty and p.name not in params:
            raise WhenceError(f"{p.name} is missing: give it.")
    return {name: fit(value, hints[name], name) for name, value in params.items()}
