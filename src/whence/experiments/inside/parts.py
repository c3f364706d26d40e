"""What does each part of a Transformer's block buy?"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from whence.data import WindowBatches, open_source
from whence.data.tokenizers import train_tokenizer
from whence.experiments.common import AMOUNT, Interval, Report, apart, mean_interval
from whence.models import GPTConfig, build
from whence.train.evaluation import evaluate
from whence.train.loop import train
from whence.train.losses import next_token_loss
from whence.train.optimizer import Optimizer
from whence.train.optimizers import AdamWConfig
from whence.train.schedules import Schedule

WHOLE = GPTConfig(
    n_layers=6, n_heads=4, d_model=48, context_length=48, init_std=None, embedding_std=1.0
)
LEARNED = 0.9  # of a guess's loss: what is below has learned something
VARIANTS = {
    "whole": WHOLE,
    "one head": replace(WHOLE, n_heads=1),
    "no attention": replace(WHOLE, without=("attention",)),
    "no feed-forward": replace(WHOLE, without=("feed_forward",)),
    "no norm": replace(WHOLE, norm="none"),
    "no residual": replace(WHOLE, without=("residual",)),
    "neither residual nor norm": replace(WHOLE, without=("residual",), norm="none"),
    "no positions": replace(WHOLE, positions="none"),
}


@torch.random.fork_rng(devices=[])  # the caller's numbers stay
def parts(
    seeds: Sequence[int] = range(3), steps: int = 200, text: str | Sequence[str] = "topics"
) -> Report:
    """Train a deep, narrow GPT on a text with one part taken out at a time.

    Args:
        seeds: one run of each variant for each.
        steps: of training.
        text: as `open_source` takes it; its last tenth measures.
    """
    source = open_source(text)
    content = "".join(source.chunks())
    tokenizer = train_tokenizer("chars", lambda: [content])
    tokens = tokenizer.encode(content)
    cut = int(0.9 * len(tokens))
    found: dict[str, list[float]] = {}
    flow: dict[str, tuple[float, float]] = {}
    for name, config in VARIANTS.items():
        losses = []
        for seed in seeds:
            loss, ratio = _run(
                config, tokens[:cut], tokens[cut:], tokenizer.vocab_size, seed, steps
            )
            losses.append(loss)
            flow[name] = ratio
        found[name] = losses
    intervals = {name: mean_interval(losses, AMOUNT) for name, losses in found.items()}
    whole = intervals["whole"].mean
    costs = {name: apart(losses, found["whole"]) for name, losses in found.items()}
    return Report(
        question="What does each part of a Transformer's block buy?",
        setting=f"GPT of 6 layers, width 48, characters of {source.name}, {steps} steps, "
        f"{len(seeds)} seeds; gradients before the first step",
        columns=("model", "validation loss, nats", "worse by", "gradient in first, last block"),
        rows=[
            (
                name,
                f"{i:.3f}",
                "" if name == "whole" else f"{costs[name]:+.3f}",
                " ".join(map(_brief, flow[name])),
            )
            for name, i in intervals.items()
        ],
        answer=conclusion(costs, flow, whole, math.log(tokenizer.vocab_size)),
        data={"loss": found, "gradient_in_first_and_last_block": flow},
    )


def conclusion(
    costs: dict[str, Interval], flow: dict[str, tuple[float, float]], whole: float, uniform: float
) -> str:
    """Say what the parts are worth, where the runs settle it.

    Args:
        costs: by how much the loss is higher without each, in nats, over the same seeds.
        flow: gradient in the first and the last block, before the first step.
        whole: the whole model's loss.
        uniform: the loss of a guess.
    """
    gradients = (
        f"Before the first step the gradient in the first block is {_brief(flow['whole'][0])} in "
        f"the whole model, {_brief(flow['no residual'][0])} without the residual and "
        f"{_brief(flow['neither residual nor norm'][0])} with neither residual nor norm. "
    )
    if whole > LEARNED * uniform:
        return (
            f"Undecided: the whole model has learned next to nothing ({whole:.2f} nats, a guess "
            f"has {uniform:.2f}), so no part can be missed yet. {gradients}Give more --steps."
        )
    parts = {name: cost for name, cost in costs.items() if name != "whole"}
    missed = {name: cost for name, cost in parts.items() if cost > 0}
    if not missed:
        told = "Undecided: these runs can't tell the cost of any part from chance. "
    else:
        worst = max(missed, key=lambda name: missed[name].mean)
        told = f"'{worst}' costs {missed[worst]:+.3f} nats, "
        rivals = [n for n, cost in parts.items() if n != worst and cost.high >= missed[worst].low]
        if rivals:
            told += "and these runs leave open whether any costs more. "
        else:
            told += "more than any other here. "
    heads = costs["one head"]
    told += f"{gradients}One head instead of four: {heads:+.3f}"
    told += ". " if heads > 0 or heads < 0 else ", which is no difference that these runs show. "
    return told + (
        "Which part matters most depends on how the weights start and on depth, rate and length "
        "of training: others may give another order."
    )


def _run(
    config: GPTConfig, training: np.ndarray, test: np.ndarray, size: int, seed: int, steps: int
) -> tuple[float, tuple[float, float]]:
    torch.default_generator.manual_seed(seed)
    model = build(config, size)
    window = config.context_length
    batches = WindowBatches(training, context_length=window, batch_size=16, seed=seed)
    flow = gradient_flow(model, batches[0][0][1], seed)
    chain = Optimizer(model, AdamWConfig(learning_rate=0.01), Schedule("wsd", 10), steps)
    for _ in train(model, batches, next_token_loss, chain, range(steps)):
        pass
    found = evaluate(model, test[:8000], context_length=window, n_bytes=1)
    return found.loss, flow


def gradient_flow(model: nn.Module, part, seed: int) -> tuple[float, float]:
    """Norm of the gradient in the first block and in the last, at the first weights.

    The head starts at 0 and would let no gradient through, so it is drawn for this and put back.
    """
    head = model.get_submodule("head").get_parameter("weight")
    kept = head.data.clone()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        nn.init.normal_(head, std=0.02)
        next_token_loss(model, part).backward()
    blocks = list(model.get_submodule("blocks").children())
    norms = [
        torch.stack([p.grad.norm() for p in b.parameters() if p.grad is not None]).norm().item()
        for b in (blocks[0], blocks[-1])
    ]
    head.data.copy_(kept)
    model.zero_grad()
    return norms[0], norms[1]


def _brief(x: float) -> str:
    return f"{x:.1e}" if x else "0"
