"""The recipe: one nested dataclass that says everything a run needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from whence.data.texts.sources import Source, open_source
from whence.errors import WhenceError
from whence.fields import check_fields, nearest, short
from whence.models.kinds import KINDS, MODELS, ModelConfig
from whence.runs.settings import from_settings, settings
from whence.scale.hardware import Hardware
from whence.train.optimizers import OPTIMIZERS, MuonConfig, OptimizerConfig
from whence.train.schedules import Schedule


@dataclass(frozen=True)
class Data:
    """The text and how it is cut into tokens.

    Attributes:
        source: files, folders, `-` for standard input, or a built-in text such as `topics`.
        tokenizer: `auto` takes characters for text up to 20 MB and byte-pair encoding above;
            `imported` is that of a model which others trained, and comes with it.
        vocab_size: for words and bpe: at most so many tokens.
        validation: the share of the text, at its end, that is kept for validation; 0: none is, and
            what is measured is the text it learns from.
        validation_source: validate on these texts instead, and train on all of `source`.
        normalize: drop byte-order marks and read every kind of line break as a newline.
        field: in .jsonl and .parquet files, the field whose text is read.
        documents: end each file, and with `field` each line of .jsonl files, by an end token: the
            model learns where a text ends, and stops there when it writes.

    Raises:
        WhenceError: where a number is outside its range.

    Example:
        >>> Data("my.txt", tokenizer="bytes").source
        ('my.txt',)
    """

    source: tuple[str, ...] = ("topics",)
    tokenizer: Literal["auto", "chars", "bytes", "words", "bpe", "imported"] = "auto"
    vocab_size: int | None = None
    validation: float = 0.1
    validation_source: tuple[str, ...] = ()
    normalize: bool = True
    field: str | None = None
    documents: bool = False

    def __post_init__(self):
        check_fields(self, "data.")
        if not 0 <= self.validation < 1:
            raise WhenceError(
                f"data.validation is {self.validation:g}: give a share of at least 0 and below 1."
            )

    def open(self) -> Source:
        """Open the text to train on.

        Raises:
            WhenceError: where it can't be read.
        """
        return open_source(self.source, self.normalize, self.field, self.documents)

    def open_validation(self) -> Source | None:
        """Open the text to validate on; None where that is a part of the other.

        Raises:
            WhenceError: where it can't be read.
        """
        texts = self.validation_source
        if not texts:
            return None
        return open_source(texts, self.normalize, self.field, self.documents)


MOST_MEASURED, LEAST_MEASURED = 200_000, 10_000  # validation tokens in a usual measurement


@dataclass(frozen=True)
class Record:
    """What a run writes down besides its losses, and when it stops.

    Attributes:
        evaluate_every: steps between two measurements on validation; none: 10 in a run.
        evaluate_tokens: at most so many validation tokens then, in windows spread evenly over all
            of them, always the same (at the end it is all); none: as many as take about a tenth of
            the training, at most 200,000.
        sample_every: steps between two samples of the model's writing; none: 6 in a run.
        sample_tokens: length of such a sample.
        checkpoint_every: steps between two checkpoints; none: as the next two say.
        replay_steps: going back to any step replays at most so many steps,
        replay_seconds: or at most so many seconds of them, whichever is longer.
        keep: which checkpoints stay, besides the best: `all`; `logarithmic`, where going back d
            steps replays at most d; or `last`, the last `keep_last` alone.
        keep_last: how many `last` keeps.
        patience: stop after so many measurements without a better one; 0: never.

    Raises:
        WhenceError: where a number is outside its range.

    Example:
        >>> Record(evaluate_every=100, sample_tokens=0).evaluate_every
        100
    """

    evaluate_every: int | None = None
    evaluate_tokens: int | None = None
    sample_every: int | None = None
    sample_tokens: int = 160
    checkpoint_every: int | None = None
    replay_steps: int = 200
    replay_seconds: float = 10.0
    keep: Literal["all", "logarithmic", "last"] = "all"
    keep_last: int = 1
    patience: int = 0

    def __post_init__(self):
        check_fields(self, "record.")
        for name in ("evaluate_every", "sample_every", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise WhenceError(f"record.{name} is {value}: give 1 or more steps.")
        least = {"evaluate_tokens": 2, "sample_tokens": 0, "patience": 0}
        least |= {"replay_steps": 1, "replay_seconds": 0, "keep_last": 1}
        for name, lowest in least.items():
            if getattr(self, name) is not None and not getattr(self, name) >= lowest:
                raise WhenceError(
                    f"record.{name} is {getattr(self, name):g}: give {lowest} or more."
                )

    def measures_part_of(self, n_tokens: int) -> bool:
        """Tell whether a usual measurement reads only some of so many validation tokens."""
        return self.evaluate_tokens is not None and self.evaluate_tokens < n_tokens

    def resolved(self, steps: int, tokens_per_step: int) -> "Record":
        """Fill in what was left open.

        Args:
            steps: of the run.
            tokens_per_step: that a step learns from.
        """

        def share(value: int | None, times: int) -> int:
            return value or max(1, round(steps / times))

        every = share(self.evaluate_every, 10)
        # A token costs a third in a measurement of what it costs in training.
        budget = 0.1 * 3 * steps * tokens_per_step / (1 + steps / every)
        affordable = min(MOST_MEASURED, max(LEAST_MEASURED, round(budget)))
        return replace(
            self,
            evaluate_every=every,
            evaluate_tokens=self.evaluate_tokens or affordable,
            sample_every=share(self.sample_every, 6),
        )


@dataclass(frozen=True)
class Change:
    """What a run leaves out of training: how a fork differs from the run it came from.

    Attributes:
        skip_batches: numbers of batches that are never trained on; those after them move up.
        skip_tokens: (start, stop) ranges of training tokens that are read but never predicted.
        freeze: names of modules or weights that stay as they are, such as `embed` or `blocks.0`.

    Raises:
        WhenceError: where a number is outside its range.

    Example:
        >>> Change(skip_batches=(4300,), freeze=("embed",)).freeze
        ('embed',)
    """

    skip_batches: tuple[int, ...] = ()
    skip_tokens: tuple[tuple[int, ...], ...] = ()
    freeze: tuple[str, ...] = ()

    def __post_init__(self):
        check_fields(self, "change.")
        if any(not 0 <= number < 2**63 for number in self.skip_batches):
            raise WhenceError(f"change.skip_batches is {self.skip_batches}: batches count from 0.")
        for pair in self.skip_tokens:
            if len(pair) != 2 or not 0 <= pair[0] < pair[1] < 2**63:
                raise WhenceError(
                    f"change.skip_tokens holds {pair}: give (start, stop) with 0 ≤ start < stop."
                )


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a run computes.

    Attributes:
        data: the text and its tokens.
        model: which model, and its sizes.
        optimizer: how the parameters move.
        schedule: how the learning rate changes.
        hardware: what it is computed on.
        record: what is written down.
        change: what is left out of training.
        steps: how many updates.
        batch_size: windows in a batch.
        window: tokens in a window of training; none: as many as the model reads.
        accumulate: parts that a batch is computed in, to save memory.
        seed: of the first weights, the order of the windows, and dropout.

    Raises:
        WhenceError: where a number is outside its range.

    Example:
        >>> recipe = Recipe(steps=100)
        >>> import tomllib
        >>> Recipe.from_dict(tomllib.loads(recipe.to_toml())) == recipe
        True
    """

    data: Data = field(default_factory=Data)
    model: ModelConfig = field(default_factory=lambda: MODELS["gpt"])
    optimizer: OptimizerConfig = field(default_factory=MuonConfig)
    schedule: Schedule = field(default_factory=Schedule)
    hardware: Hardware = field(default_factory=Hardware)
    record: Record = field(default_factory=Record)
    change: Change = field(default_factory=Change)
    steps: int = 1000
    batch_size: int = 8
    window: int | None = None
    accumulate: int = 1
    seed: int = 0

    def __post_init__(self):
        check_fields(self)
        for name in ("steps", "batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise WhenceError(f"{name} is {getattr(self, name)}: give 1 or more.")
        if self.batch_size % self.accumulate:
            raise WhenceError(
                f"a batch_size of {self.batch_size} can't be computed in {self.accumulate} equal "
                "parts: make batch_size a multiple of accumulate."
            )
        longest = getattr(self.model, "context_length", None)
        if self.window is not None and (longest is None or not 1 <= self.window <= longest):
            raise WhenceError(
                f"window is {self.window}: "
                + (
                    f"give 1 to {longest} tokens, as many as the model reads."
                    if longest
                    else "a counted model has none."
                )
            )
        if not 0 <= self.seed < 2**63:
            raise WhenceError(f"seed is {self.seed}: give 0 or more, below 2^63.")

    @property
    def window_length(self) -> int:
        """How many tokens a window of training has."""
        return self.window or self.model.context_length

    @property
    def tokens_per_step(self) -> int:
        """How many tokens a batch has, where its windows are full."""
        return self.batch_size * (self.window or getattr(self.model, "context_length", 1))

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as nested plain values, what is none left out."""
        tree = settings(self)
        tree["model"] = {"kind": kind_of(self.model, MODELS), **tree["model"]}
        tree["optimizer"] = {"kind": kind_of(self.optimizer, OPTIMIZERS), **tree["optimizer"]}
        return tree

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any], base: "Recipe | None" = None) -> "Recipe":
        """Make a recipe of nested plain values; what isn't said is taken from `base`.

        Raises:
            WhenceError: for an unknown name (with the nearest one) or a value that doesn't fit.

        Args:
            tree: the fields, nested.
            base: what holds where nothing is said; none: the default recipe.
        """
        tree = {name: dict(v) if isinstance(v, Mapping) else v for name, v in tree.items()}
        base = base or cls()
        if isinstance(tree.get("optimizer"), dict):
            _join_betas(tree["optimizer"])
        for name, table in (("model", MODELS), ("optimizer", OPTIMIZERS)):
            if isinstance(tree.get(name), dict) and "kind" in tree[name]:
                start = choose(name, tree[name].pop("kind"), table)
                base = replace(base, **{name: start})
        return from_settings(base, tree, "")

    def to_toml(self) -> str:
        """Write the recipe as TOML."""
        import tomli_w

        return tomli_w.dumps(self.to_dict())


def _join_betas(optimizer: dict[str, Any]) -> None:
    """Read β₁ and β₂ as recipes of 0.1 wrote them, each under a name of its own."""
    if "beta1" in optimizer and "beta2" in optimizer:
        optimizer["betas"] = [optimizer.pop("beta1"), optimizer.pop("beta2")]


def usual(base: Recipe, kind: str) -> Recipe:
    """Choose a kind of model, and with it the optimizer and schedule it usually learns by.

    Args:
        base: everything else.
        kind: a name in `MODELS`.

    Raises:
        WhenceError: where there is none of that name.

    Example:
        >>> usual(Recipe(), "seq2seq").optimizer.learning_rate
        0.002
    """
    row = choose("model", kind, KINDS)
    return Recipe.from_dict(row.usual, replace(base, model=row.config))


def choose(what: str, name: Any, table: Mapping[str, Any]) -> Any:
    """Look a kind up by its name.

    Raises:
        WhenceError: where there is none of that name, naming the nearest.

    Example:
        >>> choose("optimizer", "sgd", OPTIMIZERS).learning_rate
        0.1

    Args:
        what: what is chosen, for the error.
        name: of the kind.
        table: the kinds by name.
    """
    if isinstance(name, str) and name in table:
        return table[name]
    own = " One of your own: call whence.train.optimizers.add_optimizer first."
    told = nearest(str(name), table) + (own if what == "optimizer" else "")
    raise WhenceError(f"{what} {short(name)} is unknown{told}")


def kind_of(config: Any, table: Mapping[str, Any]) -> str:
    """Return the first name in a table whose configuration is of this one's type.

    Example:
        >>> kind_of(MuonConfig(learning_rate=0.03), OPTIMIZERS)
        'muon'

    Args:
        config: a configuration.
        table: the kinds by name.
    """
    return next(name for name, other in table.items() if type(other) is type(config))
