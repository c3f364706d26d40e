"""One sentence, one small network, and every number of its training."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from whence.errors import WhenceError
from whence.experiments.text.prediction import Position
from whence.models import GPTConfig, MLPConfig, RNNConfig, build
from whence.models.small.sentence import Scalars
from whence.train.loop import train
from whence.train.losses import cross_entropy, perplexity
from whence.train.optimizer import Optimizer
from whence.train.optimizers import SGDConfig
from whence.train.schedules import Schedule

BEGIN, END = "<BOS>", "<EOS>"
WORDS = (BEGIN, "we", "love", "deep", "learning", END, "the", "is", "great", "model", "hello")
VOCABULARY = (*WORDS, "world")
MODELS = ("scalars", "mlp", "rnn", "gpt")


@dataclass(frozen=True)
class Sentence:
    """What is read and what must be said: each word from all before it, `<BOS>` included.

    Attributes:
        words: the tokens in order, `<BOS>` first, `<EOS>` last where it is a target.
        vocabulary: all words that can be said.

    Example:
        >>> sentence = open_sentence("we love deep learning")
        >>> len(sentence.vocabulary), sentence.targets
        (12, ('we', 'love', 'deep', 'learning'))
    """

    words: tuple[str, ...]
    vocabulary: tuple[str, ...]

    @property
    def targets(self) -> tuple[str, ...]:
        """The words to be said."""
        return self.words[1:]

    @property
    def ids(self) -> Tensor:
        """The words' places in the vocabulary, int64 [T + 1]."""
        return torch.tensor([self.vocabulary.index(word) for word in self.words])


def open_sentence(
    text: str, vocabulary: Sequence[str] | None = None, end: bool = False
) -> Sentence:
    """Cut a sentence into words, and check them against a vocabulary.

    Args:
        text: words with spaces between them.
        vocabulary: the words that can be said; none: the notes' twelve, and the sentence's own.
        end: `<EOS>` is the last target.

    Raises:
        WhenceError: no words, one outside the vocabulary, or one that the vocabulary has twice.
    """
    words = text.split()
    if not words:
        raise WhenceError('the sentence has no words: give some, as in "we love deep learning".')
    if vocabulary is None:
        known = (*VOCABULARY, *dict.fromkeys(w for w in words if w not in VOCABULARY))
    else:
        known = (*dict.fromkeys((BEGIN, *vocabulary, END)),)
        if len(set(vocabulary)) < len(vocabulary):
            twice = next(w for w in vocabulary if list(vocabulary).count(w) > 1)
            raise WhenceError(f"the vocabulary has {twice!r} twice: give each word once.")
    for word in words:
        if word not in known:
            raise WhenceError(
                f"the sentence's word {word!r} is not in the vocabulary of {len(known)} words "
                f"({', '.join(known)}): add it to --vocabulary."
            )
    return Sentence((BEGIN, *words, *((END,) if end else ())), known)


def positions(sentence: Sentence, logits: Tensor) -> list[Position]:
    """Work out each prediction of a sentence.

    Args:
        sentence: T targets.
        logits: [T, V].
    """
    return [
        Position(sentence.words[: t + 1], target, sentence.vocabulary, tuple(row))
        for t, (target, row) in enumerate(zip(sentence.targets, logits.tolist(), strict=True))
    ]


@dataclass(frozen=True)
class Update:
    """One parameter's step: after = before − rate·gradient.

    Attributes:
        name: the parameter.
        before: its value ahead of the step.
        gradient: of the loss.
        after: its value after the step.
    """

    name: str
    before: Tensor
    gradient: Tensor
    after: Tensor


@dataclass(frozen=True)
class Snapshot:
    """Every number of one step: the predictions, and each parameter's update."""

    step: int
    positions: list[Position]
    updates: list[Update]


@dataclass
class Course:
    """What a sentence's training was.

    Attributes:
        sentence: what was learned.
        n_parameters: of the model.
        losses: the summed loss before each step, and at the end.
        probabilities: P(target) of each word before each step, and at the end.
        snapshots: by step; the last one has no updates.
    """

    sentence: Sentence
    n_parameters: int
    losses: list[float] = field(default_factory=list)
    probabilities: list[list[float]] = field(default_factory=list)
    snapshots: dict[int, Snapshot] = field(default_factory=dict)

    def perplexity(self, step: int) -> float:
        """e^(summed loss / number of targets)."""
        return perplexity(self.losses[step] / len(self.sentence.targets))

    def learned_at(self, level: float = 0.5) -> list[int | None]:
        """For each target, the first step before which P(target) is above a level."""
        return [
            next((step for step, row in enumerate(self.probabilities) if row[t] > level), None)
            for t in range(len(self.sentence.targets))
        ]


@torch.random.fork_rng(devices=[])  # the caller's numbers stay
def make_model(kind: str, sentence: Sentence, seed: int = 0, weights: Path | None = None):
    """A small model over a sentence's vocabulary, in float64.

    Args:
        kind: scalars (three numbers a word), mlp, rnn or gpt.
        sentence: what it is for.
        seed: of the first weights.
        weights: a JSON file with the first weights, `{"read": [...], ...}`, by parameter.

    Raises:
        WhenceError: for an unknown kind, or weights that don't fit.

    Example:
        >>> model = make_model("scalars", open_sentence("we love deep learning"))
        >>> sum(p.numel() for p in model.parameters())
        36
    """
    if kind not in MODELS:
        raise WhenceError(f"there is no sentence model {kind!r}: choose {', '.join(MODELS)}.")
    torch.default_generator.manual_seed(seed)
    window, size = len(sentence.words), len(sentence.vocabulary)
    small = {
        "mlp": MLPConfig(n_previous=window, d_model=4, d_ff=16, context_length=window),
        "rnn": RNNConfig(d_model=8, context_length=window, form="formula"),
        "gpt": GPTConfig(
            n_layers=1,
            n_heads=2,
            d_model=16,
            context_length=window,
            attention="formula",
            zero_head=False,
            init_std=0.2,
            embedding_std=0.2,
        ),
    }
    model = (Scalars(size) if kind == "scalars" else build(small[kind], size)).double()
    if weights is not None:
        _load(model, weights)
    return model


def _load(model: nn.Module, path: Path) -> None:
    wanted = dict(model.named_parameters())
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        given = {name: torch.tensor(value, dtype=torch.float64) for name, value in tree.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise WhenceError(
            f"{path} contains no weights ({error}): give a list for each parameter."
        ) from error
    shapes = {name: tuple(p.shape) for name, p in wanted.items()}
    if {name: tuple(v.shape) for name, v in given.items()} != shapes:
        told = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise WhenceError(f"the weights in {path} don't fit the model, which has {told}.")
    model.load_state_dict(given)


def learn(
    model: nn.Module,
    sentence: Sentence,
    *,
    steps: int = 5000,
    rate: float = 0.1,
    mean: bool = False,
    show: Sequence[int] = (0,),
) -> Course:
    """Train a model on one sentence by plain gradient descent, keeping the numbers asked for.

    Args:
        model: tokens [1, T] → logits [1, T, V].
        sentence: the only example.
        steps: how many updates.
        rate: the learning rate.
        mean: go down the mean over the targets instead of their sum.
        show: steps whose every number is kept; the end is always kept.

    Raises:
        WhenceError: where a shown step is outside of the run.
    """
    outside = [step for step in show if not 0 <= step < steps]
    if outside:
        raise WhenceError(
            f"step {outside[0]} can't be shown: the run's steps are 0 to {steps - 1}. "
            "Give another --show or more --steps."
        )
    ids = sentence.ids
    inputs, targets = ids[None, :-1], ids[1:]
    n = len(targets)
    course = Course(sentence, sum(p.numel() for p in model.parameters()))
    seen = torch.empty(0)

    def look(logits: Tensor) -> None:
        nonlocal seen
        seen = logits.detach()[0]  # [T, V]
        p = seen.log_softmax(-1)[torch.arange(n), targets]
        course.losses.append(-p.sum().item())
        course.probabilities.append(p.exp().tolist())

    def loss_fn(model: nn.Module, part: Tensor) -> Tensor:
        logits = model(part)
        look(logits)
        return cross_entropy(logits, targets) * (1 if mean else n)

    batches = {step: [(1.0, inputs)] for step in range(steps)}
    optimizer = Optimizer(
        model, SGDConfig(learning_rate=rate), Schedule("constant", warmup=0), steps
    )
    loop = train(model, batches, loss_fn, optimizer, range(steps))
    for step in range(steps):
        before = _values(model) if step in show else {}
        next(loop)
        if before:
            updates = [
                Update(name, before[name], p.grad.detach().clone(), p.detach().clone())
                for name, p in model.named_parameters()
                if p.grad is not None
            ]
            course.snapshots[step] = Snapshot(step, positions(sentence, seen), updates)
    with torch.no_grad():
        look(model(inputs))
    course.snapshots[steps] = Snapshot(steps, positions(sentence, seen), [])
    return course


def _values(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}
