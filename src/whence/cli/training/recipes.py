"""From the words of a command to a recipe."""

import inspect
import sys
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from whence.cli.training.training_help import shortened
from whence.cli.words import Texts, parse, without
from whence.errors import WhenceError
from whence.interop.layouts import exportable
from whence.models import GPTConfig
from whence.models.kinds import MODELS, ModelConfig
from whence.runs.recipe import Change, Recipe, choose, usual
from whence.runs.settings import differences, settings
from whence.train.optimizers import OPTIMIZERS

SHORT = {
    "--lr": "--optimizer.learning-rate",
    "--learning-rate": "--optimizer.learning-rate",
    "--rate": "--optimizer.learning-rate",
    "--warmup": "--schedule.warmup",
    "--layers": "--model.n-layers",
    "--heads": "--model.n-heads",
    "--width": "--model.d-model",
    "--context-length": "--model.context-length",
    "--tokenizer": "--data.tokenizer",
    "--vocab-size": "--data.vocab-size",
    "--iters": "--steps",
    "--max-steps": "--steps",
}
ELSEWHERE = {
    "--epochs": "a run's length is given in updates, --steps; the first lines it prints say how "
    "many times that goes through the text",
    "--device": "name it by --hardware.device",
}
KINDS = {"model": MODELS, "optimizer": OPTIMIZERS}


@dataclass(frozen=True)
class TrainArguments:
    """Train a model on text, watching it learn; without any text, on the built-in one.

    `--model NAME` and `--optimizer NAME` choose a kind and its usual settings, and `--depth N` the
    size of a GPT and all that follows from it; any of the fields below can then be changed, as in
    `whence train my.txt --model gpt2 --model.n-layers 6`. Given a
    recipe (a .toml file such as a run's), it trains by that. `--from RUN` begins with the weights
    and the tokenizer of another run, such as an imported model's.

    Args:
        text: files, folders, `-` for standard input, a built-in text, or one recipe (.toml).
        out: the run's folder; without it a free name under `runs/`.
        json: print one JSON line for each event instead of the display.
        export_metrics: also write the record as `csv`, or for `tensorboard`, `wandb` or `trackio`.
        start: a run to begin with the weights and the tokenizer of.
        processes: train in so many processes on this machine; on several, by torchrun.
        restarts: how often to start all processes again if one dies.
        exportable: keep the model to what 'whence export' can write for other programs: no
            bigram_embedding, rotary or learned positions with their usual norm.
        recipe: what is trained and how.
    """

    text: Texts = ()
    out: Path | None = None
    json: bool = False
    export_metrics: tuple[str, ...] | None = None
    processes: int = 1
    restarts: int = 0
    start: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    exportable: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    recipe: Annotated[Recipe, tyro.conf.arg(name=""), tyro.conf.FlagConversionOff] = field(
        default_factory=Recipe
    )


def parse_training(words: list[str]) -> TrainArguments:
    """Read the words after `whence train`.

    Args:
        words: the command's words.

    Raises:
        WhenceError: for an unknown kind of model or optimizer, or a recipe that can't be read.
    """
    words, group = _take_help(_in_full(words))
    words, kinds = _take_kinds(words)
    base = Recipe()
    flags = ["", *words]
    recipes = [
        word
        for word, before in zip(words, flags, strict=False)
        if word.endswith(".toml") and before != "--out"
    ]
    if recipes:
        if len(recipes) > 1:
            raise WhenceError(
                f"{len(recipes)} recipes were given ({', '.join(recipes)}): give one."
            )
        words = [word for word in words if word != recipes[0]]
        base = read_recipe(Path(recipes[0]))
    start = _value_of("--from", words)
    if start is not None:
        if "model" in kinds or recipes:
            raise WhenceError("--from already determines the model: leave out --model and recipes.")
        from whence.runs.run import Run  # with PyTorch, which nothing else here needs

        base = replace(Run.open(start).recipe, change=Change())
    if "model" in kinds and not recipes:
        base = usual(base, kinds.pop("model"))
    for what, name in kinds.items():
        base = replace(base, **{what: choose(what, name, KINDS[what])})
    words, depth = _take_depth(words)
    if depth is not None:
        from whence.runs.depth import deep

        base = deep(base, depth)
    arguments = parse(
        TrainArguments,
        words,
        "whence train",
        lambda text: shortened(text, group),
        default=TrainArguments(recipe=base),
        config=(tyro.conf.AvoidSubcommands,),
        description=_description(),
    )
    data = arguments.recipe.data
    if data.tokenizer in ("chars", "bytes") and not _value_of("--data.vocab-size", words):
        # A size that the kind of model brought is of the words or pieces that it usually reads.
        data = replace(data, vocab_size=None)
        arguments = replace(arguments, recipe=replace(arguments.recipe, data=data))
    if arguments.text:
        data = replace(arguments.recipe.data, source=arguments.text)
        arguments = replace(arguments, recipe=replace(arguments.recipe, data=data))
    if arguments.exportable:
        model = _exportable(arguments.recipe.model)
        arguments = replace(arguments, recipe=replace(arguments.recipe, model=model))
    return arguments


def _exportable(model: ModelConfig) -> ModelConfig:
    if type(model) is not GPTConfig:
        raise WhenceError(
            "--exportable is only for GPTs: other programs can't read other kinds of model."
        )
    kept = exportable(model)
    for name, old, new in differences(settings(model), settings(kept)):
        print(f"--exportable: model.{name} is {new}, not {old}", file=sys.stderr)
    return kept


def _value_of(flag: str, words: list[str]) -> str | None:
    """The value of a flag, as `--flag VALUE` or `--flag=VALUE`."""
    for word, after in zip(words, [*words[1:], ""], strict=False):
        if word == flag:
            return after
        if word.startswith(flag + "="):
            return word.removeprefix(flag + "=")
    return None


def read_recipe(path: Path) -> Recipe:
    """Read a recipe's file, or the recipe out of a run's run.toml.

    Raises:
        WhenceError: where it is missing, isn't TOML or isn't a recipe.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WhenceError(f"there is no recipe {path}.") from error
    except (ValueError, OSError) as error:
        raise WhenceError(f"{path} isn't a recipe: {error}.") from error
    return Recipe.from_dict(tree.get("recipe", tree))


def _description() -> str:
    kinds = [f"{what.capitalize()}s: {', '.join(table)}." for what, table in KINDS.items()]
    about = (inspect.getdoc(TrainArguments) or "").partition("\nArgs:")[0]
    return "\n\n".join([about.strip(), *kinds])


def _in_full(words: list[str]) -> list[str]:
    """Write a flag out that people know by a short name.

    Raises:
        WhenceError: for a short name of something that is given in another way here.
    """
    full: list[str] = []
    for word in words:
        flag, equals, value = word.partition("=")
        if flag in ELSEWHERE:
            raise WhenceError(f"'whence train' has no {flag}: {ELSEWHERE[flag]}.")
        full.append(SHORT.get(flag, flag) + equals + value)
    return full


def _take_depth(words: list[str]) -> tuple[list[str], int | None]:
    """Take `--depth N` out of the words.

    Raises:
        WhenceError: where N isn't a whole number.
    """
    value = _value_of("--depth", words)
    if value is None:
        return words, None
    if not value.isdigit():
        raise WhenceError(f"--depth is {value!r}: give a whole number of layers.")
    return without(words, "--depth"), int(value)


def _take_help(words: list[str]) -> tuple[list[str], str]:
    """Take the group out that `--help` asks about; "" where it names none."""
    for i, word in enumerate(words[:-1]):
        if word in ("-h", "--help") and not words[i + 1].startswith("-"):
            return [*words[: i + 1], *words[i + 2 :]], words[i + 1]
    return words, ""


def _refuse_command(flag: str, name: str) -> None:
    """Refuse a small model that has a command of its own instead."""
    from whence.cli import GROUPS

    if flag == "--model" and name in GROUPS["small models"] and name not in MODELS:
        raise WhenceError(
            f"{name} isn't a --model but a separate command, 'whence {name}': 'whence {name} "
            "--help' says what it takes."
        )


def _take_kinds(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """Take `--model NAME` and `--optimizer NAME` out of the words."""
    rest: list[str] = []
    kinds: dict[str, str] = {}
    i = 0
    while i < len(words):
        flag, equals, value = words[i].partition("=")
        if flag.removeprefix("--") in KINDS and flag.startswith("--"):
            if not equals:
                i += 1
                if i == len(words):
                    names = ", ".join(KINDS[flag[2:]])
                    raise WhenceError(f"{flag} needs a name: choose from {names}.")
                value = words[i]
            _refuse_command(flag, value)
            kinds[flag[2:]] = value
        else:
            rest.append(words[i])
        i += 1
    return rest, kinds
