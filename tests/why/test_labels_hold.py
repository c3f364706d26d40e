"""What a label says is what changes: the oracle is the step itself, done again on another text.

A number labelled with one example can't change when the tokens of another do, and before a place
where a causal model's text was changed nothing changes either.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F

from tests.runs.tiny import RUNGS, finish, make
from tests.why.models import GPT, VOCAB, Recurrent, transformer
from whence.models import ClassifierConfig, build, gpt2_config
from whence.models.seq2seq.encoder import Classifier
from whence.why import Trace, trace
from whence.why.recording.storage import Ref
from whence.why.recording.tape import Op

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


def next_token(model: nn.Module, ids: Tensor, targets: Tensor) -> Tensor:
    out = model(ids)
    logits = out if isinstance(out, Tensor) else out.logits
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def in_bf16(model: nn.Module, ids: Tensor, targets: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return next_token(model, ids, targets)


def of_pairs(model: nn.Module, ids: Tensor, targets: Tensor) -> Tensor:
    return next_token(model, ids.index_fill(1, torch.tensor([ids.shape[1] // 2 - 1]), 0), targets)


def kind_of_text(model: nn.Module, ids: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(model(ids), targets[:, 0] % 3)


def of_images(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(model(images), targets[:, 0] % 3)


def rung(name: str) -> nn.Module:
    config = RUNGS[name].model
    return build(replace(config, context_length=8), VOCAB)  # type: ignore[call-arg]


def own_gpt() -> nn.Module:
    config = gpt2_config(
        n_layers=1, n_heads=2, d_model=16, context_length=8, attention="fast", zero_head=False
    )
    return build(config, VOCAB)


def eager(name: str) -> nn.Module:
    model = transformer(name)
    model.set_attn_implementation("eager")  # type: ignore[operator]
    return model


def classifier() -> nn.Module:
    config = ClassifierConfig(
        n_layers=1, n_heads=2, d_model=16, context_length=8, classes=("a", "b", "c")
    )
    return Classifier(config, VOCAB)


def bert() -> nn.Module:
    model = transformers.BertForMaskedLM(
        transformers.BertConfig(
            vocab_size=VOCAB, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=24, max_position_embeddings=16,
        )
    ).eval()  # fmt: skip
    model.set_attn_implementation("eager")
    return model


def convolution() -> nn.Module:
    """As many channels as there are examples."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(36, 3),
    ).eval()  # fmt: skip


# A kind: its model, its loss, rows and columns of its ids, whether it is causal, whether the ids
# are told to `trace`.
KINDS: dict[str, tuple[Callable[[], nn.Module], Loss, tuple[int, int], bool, bool]] = {
    "GPT": (own_gpt, next_token, (3, 8), True, True),
    "GPT, bf16": (own_gpt, in_bf16, (3, 8), True, False),
    "GPT, as many examples as positions": (GPT, next_token, (8, 8), True, False),
    "character MLP": (lambda: rung("mlp"), next_token, (3, 8), True, True),
    "character MLP, ids not told": (lambda: rung("mlp"), next_token, (3, 8), True, False),
    "RNN": (lambda: rung("rnn"), next_token, (8, 8), True, True),
    "LSTM": (lambda: rung("lstm"), next_token, (8, 8), True, True),
    "GRU": (lambda: rung("gru"), next_token, (8, 8), True, True),
    "torch's GRU": (lambda: Recurrent(nn.GRU), next_token, (8, 8), True, False),
    "torch's LSTM, both ways": (
        lambda: Recurrent(nn.LSTM, bidirectional=True), next_token, (8, 8), False, False,
    ),
    "encoder, as many examples as classes": (classifier, kind_of_text, (3, 8), False, False),
    "encoder–decoder": (lambda: rung("seq2seq"), of_pairs, (3, 8), False, True),
    "GPT-2 of transformers": (lambda: transformer("gpt2"), next_token, (3, 8), True, False),
    "Llama of transformers": (lambda: eager("llama"), next_token, (8, 8), True, False),
    "BERT, windows of one token": (bert, next_token, (4, 1), False, False),
    "images": (convolution, of_images, (4, 8), False, False),
}  # fmt: skip


def made(t: Trace) -> Iterator[tuple[Op, Ref]]:
    """The numbers that the step made before the update."""
    for op in t.ops:
        for output in op.outputs if not op.alias else ():
            if output is not None and output.numel and output.dtype.is_floating_point:
                yield op, output


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_labelled_so_changes_with_an_example_or_a_place(kind):
    make, loss, shape, causal, told = KINDS[kind]
    torch.manual_seed(0)
    model = make()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.3)
    draw = torch.Generator().manual_seed(1)
    ids, targets = (torch.randint(2, VOCAB, shape, generator=draw) for _ in range(2))
    inputs = torch.randn(4, 3, 8, 8, generator=draw) if loss is of_images else ids

    def step(inputs: Tensor) -> Trace:
        torch.manual_seed(0)
        model.zero_grad()
        run = lambda: loss(model, inputs, targets).backward()  # noqa: E731
        return trace(run, model=model, tokens=ids if told else None)

    other, later = inputs.clone(), inputs.clone()
    other[1] = other[1].flip(0) + 1 if loss is of_images else (other[1] * 7 + 3) % VOCAB
    middle = shape[1] // 2
    later[:, middle:] = (later[:, middle:] * 5 + 1) % VOCAB
    t, found = step(inputs), 0
    for (op, ref), (_, changed), (_, moved) in zip(
        made(t), made(step(other)), made(step(later)), strict=True
    ):
        place = t.labels.place(ref, np.arange(ref.numel))
        name = f"{op.phase} {op.module} {op.name} {list(ref.size)}"
        apart = (ref.tensor() != changed.tensor()).reshape(-1).numpy()
        if place.example is not None:
            found += 1
            assert not (apart & (place.example != 1)).any(), name
            assert apart[place.example == 1].any() or not apart.any(), name
        if causal and place.position is not None and op.phase == "forward":
            moved_here = (ref.tensor() != moved.tensor()).reshape(-1).numpy()
            before = place.position < middle
            if place.key is not None:  # a score that isn't masked yet reads what comes later
                before &= place.key < middle
            assert not (moved_here & before).any(), name
    assert found > 2 or kind == "character MLP, ids not told"


def test_a_classifiers_outcome_is_called_a_class_and_not_a_token():
    """Class 1 of a reader of texts isn't the vocabulary's token 1."""
    model = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(12, 3))
    tokens, classes = torch.arange(6).reshape(2, 3), torch.tensor([1, 2])

    def step():
        logits = model(tokens)
        nn.functional.cross_entropy(logits, classes).backward()
        return logits

    t = trace(step, model=model, tokens=[tokens], decode="abcdefg".__getitem__)
    places = {term.place for term in t.loss.why().terms}
    assert places == {"example 0, class 1 expected", "example 1, class 2 expected"}
    assert "'b'" not in t.loss.why().sentence


def test_a_classifiers_logit_is_that_of_a_class(tmp_path):
    run = make(tmp_path / "run", RUNGS["encoder"])
    finish(run, steps=2)
    t = run.at(1).trace()
    assert t.number("logits[0,1]").why().title.startswith("Logit of class 1, example 0")
