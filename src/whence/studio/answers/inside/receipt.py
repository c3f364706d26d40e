"""The receipt of a weight: what it was, what the step added, and who that came from."""

from pathlib import Path
from typing import Any

from whence.errors import WhenceError
from whence.studio.answers.inside.asking import Loop, asked_of
from whence.studio.answers.inside.cell import found, without_step
from whence.studio.answers.inside.traces import Asked
from whence.why import Address, Number, Trace
from whence.why.attribution.groups import WAYS
from whence.why.attribution.occurrences import occurrences
from whence.why.receipts.update import PAST
from whence.why.receipts.wording import MEMORY
from whence.why.rules.open import open_element

_SECONDS = 2.0  # for paths, of which there can be very many


def receipt(
    folder: Path,
    *,
    run: str,
    address: str = "",
    step: int | None = None,
    text: str = "",
    top: int = 12,
) -> dict[str, Any]:
    """Write a number's receipt; a weight's says how this step changed it.

    Args:
        folder: the folder of runs.
        run: the run's name.
        address: the number's; none: the largest number of the last matrix of the model.
        step: from 0 to the last one done; none: that.
        text: instead of the step's batch, let the model of that step read this text.
        top: how many terms are listed.
    """
    said = Address.parse(address).step if address else None
    asked = asked_of(folder, run, step if said is None else said, text)
    top = max(1, min(top, 1000))
    with asked.opened() as t:
        if not address:
            matrices = [n for n in t.parameters if len(t[n].shape) == 2]
            address = (matrices or list(t.parameters))[-1]
        number = found(t, without_step(address))
        name = number.numbers.name
        updated = t.after_of(name) is not None and name in t.parameters
        target = number.update if updated else number
        why = target.why(top=top, context=True)
        lines = _lines(target)
        head = None
        if updated:
            old, new = number.value, number.after.value
            head = {
                "old": old,
                "change": target.value,
                "new": new,
                "weight": number.address,
                "after": f"{number.address}.after",
                "rule": t.rules.get(name, {}).get("rule", ""),
                "memory": _memory(number),
            }
        return {
            **asked.head(),
            "address": number.address,
            "target": why.address,
            "head": head,
            "lines": lines,
            "receipt": why.to_dict(),
            "ways": _ways(target, asked),
            "loss": asked.loss(t),
            "notes": t.notes,
            "python": asked.python(f".why({why.address!r}, top={top})"),
            "shell": asked.shell(why.address, f"--top {top}"),
        }


def attribution(
    folder: Path,
    *,
    run: str,
    address: str,
    by: str = "token",
    step: int | None = None,
    text: str = "",
    top: int = 24,
) -> dict[str, Any]:
    """Group what a number is made of.

    Args:
        folder: the folder of runs.
        run: the run's name.
        address: the number's.
        by: as of `whence.why.Number.attribution`.
        step: as of `receipt`.
        text: as of `receipt`.
        top: how many groups are listed.
    """
    asked = asked_of(folder, run, step, text)
    top = max(1, min(top, 1000))
    with asked.opened() as t:
        number = found(t, address)
        whole = number.attribution(by, seconds=_SECONDS)
    shares = [
        {**vars_of(share), **_before(t, number, share.label, asked)} for share in whole.shares
    ]
    rest = shares[top:]
    return {
        **asked.head(),
        "address": whole.address,
        "by": by,
        "value": whole.value,
        "shares": shares[:top],
        "others": {"count": len(rest), "value": sum(s["value"] for s in rest)},
        "rounding": whole.rounding,
        "bound": whole.bound,
        "notes": list(whole.notes),
        "python": asked.python(f".number({whole.address!r}).attribution({by!r})"),
        "shell": asked.shell(whole.address, f"--by {by}", f"--top {top}"),
    }


def places(
    folder: Path,
    *,
    run: str,
    address: str,
    token: str,
    step: int | None = None,
    text: str = "",
    path_of: int | None = None,
    top: int = 12,
) -> dict[str, Any]:
    """Say where in the text a token was that accounts for part of a number.

    Args:
        folder: the folder of runs.
        run: the run's name.
        address: a gradient's or an update's.
        token: as `attribution` labels it.
        step: as of `receipt`.
        text: as of `receipt`.
        path_of: split this one of the places over the paths that its gradient took.
        top: how many places are listed.
    """
    asked = asked_of(folder, run, step, text)
    with asked.opened() as t:
        number = found(t, address)
        all_places = occurrences(number, token)
        if path_of is not None and not 0 <= path_of < len(all_places):
            raise WhenceError(f"path_of is {path_of}: there are {len(all_places)} places.")
        taken = [] if path_of is None else all_places[path_of].by_path()
    rest = all_places[max(1, top) :]
    return {
        **asked.head(),
        "address": number.address,
        "token": token,
        "places": [
            {"example": o.example, "position": o.position, "value": o.value, "where": o.where}
            for o in all_places[: max(1, top)]
        ],
        "others": {"count": len(rest), "value": sum(o.value for o in rest)},
        "paths": [{"label": label, "value": value} for label, value in taken],
        "python": "from whence.why.attribution.occurrences import occurrences; "
        + asked.python(f".number({number.address!r})").replace("; Run.", "; occurrences(Run.", 1)
        + f", {token!r})",
        "shell": asked.shell(number.address, "--by where"),
    }


def vars_of(share: Any) -> dict[str, Any]:
    """A frozen record with slots as a dict."""
    return {name: getattr(share, name) for name in share.__slots__}


def _before(t: Trace, number: Number, label: str, asked: Asked | Loop) -> dict[str, Any]:
    """Where the step before made what the optimizer remembered, and the field's word for it."""
    name = label.removesuffix(f" {PAST}")
    owner, _, kind = name.rpartition(".")
    if name == label or owner not in t.parameters or t.after_of(name) is None:
        return {}
    words = f"{MEMORY.get(kind, kind).lower()} {PAST}"
    if not asked.has_before or t[name].shape != number.ref.size:
        return {"words": words}
    address = f"{t[name][number.address_index].address}.after"
    return {"words": words, "opens": {"address": address, "step": asked.step - 1}}


def _lines(number: Number) -> list[dict[str, Any]]:
    """The kinds of terms that a number is the sum of, each summed up."""
    opened, _ = open_element(number.ref, number.at)
    lines: list[dict[str, Any]] = []
    for part in opened.parts if opened is not None else []:
        terms = part.terms()[0]
        first = part.factors[0] if part.factors else None
        address = None
        if first is not None and len(terms) == 1:
            address = number.trace.address(first.cells, int(first.at.reshape(-1)[0]))
        lines.append(
            {
                "symbol": part.symbol,
                "value": float(terms.sum()),
                "terms": len(terms),
                "address": address,
                "factor": None if first is None or len(terms) > 1 else float(first.values.flat[0]),
            }
        )
    return lines


def _memory(number: Number) -> list[dict[str, Any]]:
    """The optimizer's own tensors for this weight, before and after."""
    t, name = number.trace, number.numbers.name
    rows = []
    for each in t.names():
        kept = each.startswith(f"{name}.") and "#" not in each and t.after_of(each) is not None
        if kept and t[each].shape == t[name].shape:
            own = t[each][number.address_index]
            rows.append({"address": own.address, "before": own.value, "after": own.after.value})
    return rows


def _ways(number: Number, asked: Asked | Loop) -> list[str]:
    """The groupings that can be asked for."""
    gone = set() if asked.text is None else {"where"}
    if not number.address.endswith((".grad", ".update")):
        gone |= {"path"}
    if number.trace.labels.decode is None:
        gone |= {"token"}
    return [way for way in WAYS if way not in gone]
