"""When does a Transformer learn to copy what followed last time (… A B … A → B)?"""

from collections.abc import Sequence

import torch

from whence.experiments.common import Example, Report, learn, mean_interval
from whence.models import GPTConfig, build
from whence.models.gpt.model import GPT
from whence.models.layers.attention import Attention, future, split_heads

SIZE, SHORTEST, LONGEST = 24, 6, 12
WINDOW = 2 * LONGEST
CHECK = 25  # steps between two looks


def repeated(n: int, generator: torch.Generator) -> Example:
    """Different tokens in random order, 6 to 12 of them, again and again.

    Only what follows a token that stood there before can be known, and is counted. The period
    changes from row to row, so that it can't be known by counting back a fixed distance.
    """
    period = torch.randint(SHORTEST, LONGEST + 1, (n, 1), generator=generator)
    tokens = torch.rand(n, SIZE, generator=generator).argsort(1)  # [n, SIZE]
    places = torch.arange(WINDOW + 1)
    row = tokens.gather(1, places % period)
    targets = row[:, 1:].clone()
    targets[places[:-1] < period] = -100
    return Example(row[:, :-1], targets)


def shape(n_layers: int) -> GPTConfig:
    """A GPT for it."""
    return GPTConfig(
        n_layers=n_layers, n_heads=4, d_model=48, context_length=WINDOW, attention="formula"
    )


@torch.random.fork_rng(devices=[])  # the caller's numbers stay
def induction(seeds: Sequence[int] = range(3), steps: int = 800) -> Report:
    """Train GPTs of one and two layers on texts that repeat themselves, looking again and again.

    Args:
        seeds: one run of each depth for each.
        steps: of training.
    """
    curves: dict[int, list[list[float]]] = {1: [], 2: []}
    heads: list[float] = []
    for n_layers, runs in curves.items():
        for seed in seeds:
            torch.default_generator.manual_seed(seed)
            model = build(shape(n_layers), SIZE)
            test = repeated(200, torch.Generator().manual_seed(seed + 500))
            curve = [copied(model, test)]
            for step, _ in learn(model, lambda g: repeated(64, g), steps, seed=seed):
                if (step + 1) % CHECK == 0:
                    curve.append(copied(model, test))
            runs.append(curve)
            if n_layers == 2 and isinstance(model, GPT):
                heads.append(best_head(model, test))
    reached = {
        n: [next((i * CHECK for i, a in enumerate(c) if a > 0.5), None) for c in runs]
        for n, runs in curves.items()
    }
    shown = sorted({0, *(round(steps * k / 6 / CHECK) for k in range(1, 7))})
    rows = [
        (
            f"{n} layer{'s' if n > 1 else ''}",
            *(f"{mean_interval([c[i] for c in runs]).mean:.2f}" for i in shown),
        )
        for n, runs in curves.items()
    ]
    two = [s for s in reached[2] if s is not None]
    one = sum(s is not None for s in reached[1])
    when = (
        f"Two layers copy more than half of the tokens right from step {min(two)} to {max(two)} on "
        f"({len(two)} of {len(seeds)} seeds)"
        if two
        else f"Two layers didn't learn to copy in {steps} steps"
    )
    return Report(
        question="When does in-context copying (induction) appear during training?",
        setting=f"{SHORTEST} to {LONGEST} random tokens of {SIZE}, again and again; share of what "
        f"the context tells that is predicted right (chance: {1 / SIZE:.2f}), {len(seeds)} seeds",
        columns=("model", *(f"step {i * CHECK}" for i in shown)),
        rows=rows,
        answer=f"{when}; one layer does in {one} of {len(seeds)}. After training, the head of the "
        "second layer that looks most at the token behind the earlier occurrence gives it "
        f"{mean_interval(heads, shares=True):.2f} of its attention. The texts it is asked about "
        "are new: it can only have read the answer in the context.",
        data={"accuracy": {str(n): c for n, c in curves.items()}, "half_right_at": reached},
    )


def copied(model: torch.nn.Module, test: Example) -> float:
    """The share of what the context tells that the model predicts right."""
    with torch.inference_mode():
        right = model(test.inputs).argmax(-1) == test.targets
    return (right.sum() / (test.targets >= 0).sum()).item()


def best_head(model: GPT, test: Example) -> float:
    """The largest mean attention of a last-layer head to the token behind the one seen before."""
    weights = attention_weights(model, test.inputs)[-1]  # [B, H, T, S]
    same = test.inputs[:, :, None] == test.inputs[:, None, :]  # [B, T, S]
    follows = same.roll(1, dims=2)  # the key's token stands behind one equal to the query's
    follows[:, :, 0] = False
    looked = (weights * follows.unsqueeze(1)).sum(-1).transpose(1, 2)  # [B, T, H]
    return looked[test.targets >= 0].mean(0).max().item()


@torch.inference_mode()
def attention_weights(model: GPT, tokens: torch.Tensor) -> list[torch.Tensor]:
    """The attention weights [B, H, T, S] of each layer, by the formula.

    Args:
        model: a GPT with attention in every layer.
        tokens: [B, T].
    """
    kept: list[torch.Tensor] = []

    def keep(module: torch.nn.Module, inputs: tuple) -> None:
        if not isinstance(module, Attention):
            return
        x, rotation = inputs[0], inputs[1]
        q = module.q_norm(split_heads(module.q(x), module.n_heads))
        k = module.k_norm(split_heads(module.k(x), module.n_kv_heads))
        if rotation is not None:
            q, k = rotation(q), rotation(k)
        k = k.repeat_interleave(module.n_heads // module.n_kv_heads, 1)
        scores = q @ k.mT / q.shape[-1] ** 0.5
        mask = future(scores.shape[-2], scores.shape[-1], scores.device)
        kept.append(scores.masked_fill(mask, -torch.inf).softmax(-1))

    hooks = [m.register_forward_pre_hook(keep) for m in model.modules() if isinstance(m, Attention)]
    try:
        model(tokens)
    finally:
        for hook in hooks:
            hook.remove()
    return kept
