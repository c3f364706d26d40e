"""`whence why`: any number of any training step, opened into the arithmetic that made it.

This file has its flags and checks; `why_answers` answers, and loads PyTorch for it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import tyro

from whence.errors import WhenceError
from whence.interop.talk.answers import find_answer, load_answer
from whence.receipt.figures import EXACT as ALL_DIGITS
from whence.receipt.figures import READ

Ids: TypeAlias = list[int]  # the flag `list` hides the name in `why`
By: TypeAlias = Literal["token", "position", "example", "where", "head", "module", "path"]


def why(
    run: Annotated[Path | None, tyro.conf.Positional] = None,
    address: Annotated[str, tyro.conf.Positional] = "",
    *,
    answer: str | None = None,
    token: int = 1,
    step: int | None = None,
    text: str | None = None,
    depth: int = 1,
    top: int = 8,
    digits: int = READ,
    exact: bool = False,
    largest: bool = False,
    by: By | None = None,
    seconds: float = 2.0,
    line: str | None = None,
    row: str | None = None,
    example: int | None = None,
    check: bool = False,
    slope: bool = False,
    list: bool = False,
    balance: bool = False,
    first_bad: bool = False,
    interactive: bool = False,
    numbers: int = 10_000,
    approximate: bool = False,
    model: str | None = None,
    json: bool = False,
) -> int:
    """Open any number of any training step into the arithmetic that made it.

    For example `whence why runs/mine 'blocks.0.mlp.up.weight[3,7].update' --step 31`. The run is
    taken back to that step, and the step is repeated with every number recorded.

    Args:
        run: the run's folder.
        address: loss, logits[0,12,'e'], a module's output, a variable of the model's code, a
            parameter or an optimizer's tensor, with .grad, .update, .after and @STEP; none: loss,
            of an answer the token's logit.
        answer: the number of an answer of `whence chat` or `whence serve`: the model that gave it
            reads it again, up to the token that is asked about. The run may be left out.
        token: which token of the answer, from 1.
        step: from 0 to the number of steps done; none: the last one.
        text: instead of the step's batch, let the model of that step read this text (forward and
            backward, no update); `-` reads standard input.
        depth: how many levels to open.
        top: how many terms or groups to show; the rest is added up.
        digits: significant digits of the numbers shown.
        exact: show every digit, and the raw names of operations, one at a time.
        largest: open the number of the tensor at the address that is furthest from 0; without an
            address, the weight that this step moved furthest.
        by: group what the number is made of.
        seconds: how long --by path follows paths; it says so if that wasn't enough for all.
        line: instead, what this line of the training text moved most in the step: its number, or
            `worst` for the line with the most loss above the batch's mean.
        row: the same, of a table or of pairs.
        example: the same of one example of the batch, from 0.
        check: compare the number's gradient with what nudging it really does, in float64.
        slope: measure how much the number depends on each input of the operation that made it, by
            nudging them: also where that operation has no rule.
        list: list the step's tensors instead, those whose name has the address in it.
        balance: add up numbers drawn from every operation of the step instead; ends with code 1
            where one doesn't add up.
        first_bad: open the first number of the step that isn't finite instead, of those that led
            to its failure; without --step, of the step at which the run was refused, if it was.
        interactive: go on asking about the step, which stays in memory: numbers of what to open
            next, addresses, back, /text to search.
        numbers: how many numbers --balance draws.
        approximate: continue if a replayed loss differs from the record.
        model: of a watched loop: module:function that builds its model.
        json: print JSON.
    """
    line = row if line is None else line
    _refuse(
        {"depth": depth, "top": top, "numbers": numbers, "digits": digits},
        {"--by": by is not None, "--check": check, "--slope": slope, "--list": list,
         "--balance": balance,
         "--first-bad": first_bad, "--line": line is not None, "--example": example is not None,
         "--interactive": interactive},
    )  # fmt: skip
    read: str | Ids | None
    if answer is not None:
        if text is not None or step is not None:
            raise WhenceError(
                "--answer says what is read, and at which step: leave out the others."
            )
        run = run or find_answer(Path("runs"), answer)
        step, read, logit = _answer(run, answer, token)
        address = address or logit
    else:
        read = sys.stdin.read() if text == "-" else text
    if run is None:
        raise WhenceError("name a run, such as runs/topics-1, or an --answer.")

    from whence.cli.inside import why_answers as answers

    inverse = line is not None or example is not None
    wanted = ""
    if not (list or balance or first_bad or inverse or largest):
        wanted, step = answers.number_and_step(address or "loss", step)
    opened = answers.open_step(run, step, read, first_bad, approximate, model, json)
    if balance:
        return answers.tell_balance(opened, numbers, json)
    shown_digits = ALL_DIGITS if exact else digits
    if list:
        answers.tell_names(opened, address, json)
    elif first_bad:
        answers.tell_first_bad(opened, top, json)
    elif inverse:
        answers.tell_moved(opened, line, example, top, shown_digits, json)
    else:
        number = answers.furthest(opened, address) if largest else opened.trace.number(wanted)
        if interactive:
            answers.converse(opened, number.address, top, shown_digits)
        elif check:
            answers.tell(opened, number, "check", number.check(), top, shown_digits, json)
        elif slope:
            answers.tell(opened, number, "slope", number.slope(), top, shown_digits, json)
        elif by is not None:
            found = number.attribution(by, seconds=seconds)
            answers.tell(opened, number, "attribution", found, top, shown_digits, json)
        else:
            receipt = number.why(top=top, depth=depth, raw=exact, context=True)
            answers.tell(opened, number, "receipt", receipt, top, shown_digits, json)
    return 0


def _answer(run: Path, number: str, token: int) -> tuple[int, Ids, str]:
    """The step of an answer, what was read up to one of its tokens, and that token's logit."""
    found = load_answer(run, number)
    if not 1 <= token <= len(found.written):
        raise WhenceError(
            f"--token is {token}: give 1 to {len(found.written)}, the answer's tokens."
        )
    if rounded := found.rounded():
        print(rounded, file=sys.stderr)
    read = [*found.prompt, *found.written[:token]]
    return found.step, read, f"logits[0,{len(read) - 2},{read[-1]}]"


def _refuse(counts: dict[str, int], asked: dict[str, bool]) -> None:
    for name, value in counts.items():
        if value < 1:
            raise WhenceError(f"--{name} is {value}: give 1 or more.")
    given = [name for name, is_given in asked.items() if is_given]
    if len(given) > 1:
        raise WhenceError(f"{' and '.join(given)} are different questions: ask one at a time.")
