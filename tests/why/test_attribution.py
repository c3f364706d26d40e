"""Groups add up to the number, and what an update is made of is told apart."""

import contextlib
import json
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.why.models import GPT, T, adamw, stepper, text, transformer
from whence.errors import WhenceError
from whence.why import trace


@pytest.fixture(scope="module")
def gpt():
    torch.manual_seed(0)
    model = GPT()
    step = stepper(model, adamw(model, fused=True), clip=0.5)
    step()
    where = lambda example, position: f"line {(example * T + position) // 3}"  # noqa: E731
    return trace(step, decode=lambda i: f"w{i}", where=where)


GRADIENTS = ["blocks.0.mlp.up.weight[3,7]", "blocks.1.attn.k.weight[2,5]", "norm.weight[3]",
             "blocks.0.attn.o.bias[1]", "head.weight[4,4]"]  # fmt: skip


@pytest.mark.parametrize("by", ["token", "position", "example", "where", "module", "head"])
@pytest.mark.parametrize("quantity", ["grad", "update", "after"])
@pytest.mark.parametrize("name", GRADIENTS)
def test_groups_add_up_to_the_number(gpt, name, quantity, by):
    number = gpt.number(f"{name}.{quantity}")
    found = number.attribution(by)
    added = math.fsum(s.value for s in found.shares) + found.rounding
    assert added == pytest.approx(number.value, rel=1e-9, abs=1e-15)
    assert abs(found.rounding) <= found.bound + 1e-12 * abs(number.value)
    assert json.dumps(found.to_dict(), allow_nan=False)
    assert number.address in str(found)


def test_tokens_account_for_a_gradient_as_the_definition_says(gpt):
    tokens, _ = text()
    delta = gpt["blocks.0.mlp.up"].grad.value[:, :, 3].double()
    x = gpt["blocks.0.norm2"].value[:, :, 7].double()
    found = gpt.number("blocks.0.mlp.up.weight[3,7].grad").attribution("token")
    for share in found.shares:
        token = int(share.label.strip("'").removeprefix("w"))
        assert share.value == pytest.approx(float((delta * x)[tokens == token].sum()), rel=1e-9)
    places = gpt.number("blocks.0.mlp.up.weight[3,7].grad").attribution("position")
    assert {s.label for s in places.shares} == {f"position {i}" for i in range(T)}


@pytest.mark.parametrize("fused", [False, True])
def test_a_logit_is_split_over_what_wrote_to_the_residual_stream(fused):
    torch.manual_seed(0)
    model = GPT(fused=fused)
    tokens, _ = text()

    def step():
        return model(tokens)

    t = trace(step)
    number = t.number("logits[1,5,3]")
    by_module = number.attribution("module")
    writers = {"embed", "positions", *(f"blocks.{i}.{m}" for i in (0, 1)
                                       for m in ("attn.o", "mlp.down"))}  # fmt: skip
    assert {s.label for s in by_module.shares} == writers  # the norm's bias is 0 as yet
    with torch.no_grad():  # the same with the final norm's denominator held
        x = t["blocks.1"].value[1, 5]
        scale = 1 / (x.var(correction=0) + model.norm.eps).sqrt() * model.norm.weight
        for share in by_module.shares:
            if share.label in writers:
                wrote = t[share.label].value
                vector = wrote[5] if share.label == "positions" else wrote[1, 5]
                direct = ((vector - vector.mean()) * scale) @ model.head.weight[3]
                assert share.value == pytest.approx(float(direct), rel=1e-3, abs=1e-6)
    heads = number.attribution("head")
    labels = {s.label for s in heads.shares}
    assert {f"blocks.{i}.attn head {h}" for i in (0, 1) for h in (0, 1)} <= labels
    for found in (by_module, heads):
        assert math.fsum(s.value for s in found.shares) == pytest.approx(number.value, rel=1e-4)
        assert abs(found.rounding) <= found.bound


def test_heads_and_the_output_bias_make_up_what_attention_wrote(gpt):
    number = gpt.number("logits[1,5,3]")
    by_module = {s.label: s.value for s in number.attribution("module").shares}
    by_head = {s.label: s.value for s in number.attribution("head").shares}
    for i in (0, 1):
        heads = [v for k, v in by_head.items() if k.startswith(f"blocks.{i}.attn")]
        assert math.fsum(heads) == pytest.approx(by_module[f"blocks.{i}.attn.o"], rel=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3"])
def test_the_models_of_transformers_are_split_too(name):
    torch.manual_seed(0)
    model = transformer(name)
    tokens, _ = text()

    def step():
        return model(input_ids=tokens, labels=tokens).loss

    t = trace(step)
    number = t.number("logits[1,5,3]")
    for by in ("module", "head"):
        found = number.attribution(by)
        assert abs(found.rounding) <= found.bound
        assert math.fsum(s.value for s in found.shares) == pytest.approx(number.value, rel=1e-4)
    assert len([s for s in found.shares if " head " in s.label]) == (4 if name == "gpt2" else 8)


def test_a_gradient_is_split_over_the_modules_that_sent_it_back(gpt):
    found = gpt.number("blocks.0.mlp.up.weight[3,7].grad").attribution("module")
    assert {s.label for s in found.shares} == {"norm", "blocks.1.norm1", "blocks.1.norm2"}


@pytest.mark.parametrize("quantity", ["grad", "update"])
def test_paths_add_up_and_name_the_modules_on_the_way(gpt, quantity):
    number = gpt.number(f"blocks.0.mlp.up.weight[3,7].{quantity}")
    found = number.attribution("path")
    labels = {s.label for s in found.shares}
    through = {f"blocks.1.norm1 → blocks.1.attn.{m}" for m in "qkv"}
    assert labels >= {"norm", "blocks.1.norm2", *(f"{t} → norm" for t in through)}
    assert math.fsum(s.value for s in found.shares) == pytest.approx(number.value, rel=1e-4)
    assert abs(found.rounding) <= found.bound


def test_what_cannot_be_grouped_says_so(gpt):
    with pytest.raises(WhenceError, match="choose token, position"):
        gpt.number("loss").attribution("colour")
    tokens, _ = text()
    model = GPT()

    def step():
        model(tokens).square().sum().backward()

    with pytest.raises(WhenceError, match="give trace"):
        trace(step).number("head.weight[0,0].grad").attribution("where")


def formula(kind: str, lr: float, p, g, state, clip: float) -> dict[str, float]:
    """An update's shares by hand: decay, what was remembered, this step's gradient."""
    if kind == "sgd":
        return {"decay": -lr * 0.1 * p, "gradient": -lr * clip * g}
    if kind == "momentum":
        past = state["momentum_buffer"]
        return {"decay": -lr * 0.1 * p, "past": -lr * 0.9 * past, "gradient": -lr * clip * g}
    t = float(state["step"]) + 1
    v = 0.999 * state["exp_avg_sq"] + 0.001 * (clip * g) ** 2
    denominator = math.sqrt(v / (1 - 0.999**t)) + 1e-8
    scale = -lr / (1 - 0.9**t) / denominator
    past = scale * 0.9 * state["exp_avg"]
    return {"decay": -lr * 0.1 * p, "past": past, "gradient": scale * 0.1 * clip * g}


KINDS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, weight_decay=0.1),
    "momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1),
    "adamw fused": lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.1, fused=True),
    "adamw foreach": lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.1, foreach=True),
    "adamw single": lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.1, foreach=False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_is_told_apart_into_decay_past_and_gradient(kind):
    torch.manual_seed(0)
    model = nn.Linear(4, 3).double()
    optimizer = KINDS[kind](model.parameters())
    x, y = torch.randn(5, 4).double(), torch.randn(5, 3).double()

    def step():
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()

    step()
    state = {k: float(v[1, 2] if v.ndim else v) for k, v in
             optimizer.state[model.weight].items() if v is not None}  # fmt: skip
    t = trace(step)
    norm = torch.cat([t[n].grad.value.flatten() for n in ("weight", "bias")]).norm()
    number = t.number("weight[1,2]")
    clip = float(0.1 / (norm + 1e-6))
    expected = formula(kind.split()[0], 0.1, number.value, number.grad.value, state, clip)
    receipt = number.update.why()
    found = {}
    for term in receipt.terms:
        words = {"decay": "decay", "before this step": "past", "gradient": "gradient"}
        found[next(word for w, word in words.items() if w in term.label)] = term.value
    assert found == pytest.approx(expected, rel=1e-5)
    assert sum(found.values()) == pytest.approx(number.update.value, rel=1e-9)
    assert receipt.verdict in ("exact", "rounded")
    assert any("shared" in note for note in receipt.notes)


def test_a_heads_share_is_what_its_columns_wrote():
    torch.manual_seed(0)
    model, (tokens, _) = transformer("llama"), text()
    seen = {}
    for i, layer in enumerate(model.model.layers):
        keep = lambda _, args, i=i: seen.update({i: args[0][1, 5].double()})  # noqa: E731
        layer.self_attn.o_proj.register_forward_pre_hook(keep)
    keep = lambda _, args: seen.update(final=args[0][1, 5].double())  # noqa: E731
    model.model.norm.register_forward_pre_hook(keep)
    t = trace(lambda: model(input_ids=tokens).logits, model=model)
    found = {s.label: s.value for s in t.number("logits[1,5,3]").attribution("head").shares}
    final = seen["final"]
    scale = model.model.norm.weight * torch.rsqrt(final.square().mean() + 1e-6)
    reads = (scale * model.lm_head.weight[3]).double()
    for i, layer in enumerate(model.model.layers):
        w = layer.self_attn.o_proj.weight.double()
        for h, (z, columns) in enumerate(zip(seen[i].split(4), w.split(4, dim=1), strict=True)):
            label = f"model.layers.{i}.self_attn head {h}"
            assert found[label] == pytest.approx((columns @ z @ reads).item(), rel=1e-3, abs=1e-7)


def test_muon_shares_its_orthogonalising_factor():
    torch.manual_seed(0)
    model = nn.Linear(6, 4, bias=False)
    optimizer = torch.optim.Muon(model.parameters(), lr=0.1, weight_decay=0.1, nesterov=False)
    x, y = torch.randn(5, 6), torch.randn(5, 4)

    def step():
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()

    step()
    t = trace(step)
    receipt = t.why("weight[1,2].update", top=20)
    words = [term.label for term in receipt.terms]
    assert sum("gradient" in w for w in words) == 4  # Σₖ P[1,k]·G[k,2]: one for each row
    assert sum("momentum (before this step)" in w for w in words) == 4
    assert sum("decay" in w for w in words) == 1
    assert abs(receipt.residual) <= receipt.bound
    tokens = t.number("weight[1,2].update").attribution("example")
    assert {s.label for s in tokens.shares} >= {f"example {i}" for i in range(5)}


def test_an_lstms_update_under_muon_is_shared_out_over_its_tokens():
    torch.manual_seed(0)
    embed, rnn, head = nn.Embedding(11, 8), nn.LSTM(8, 8, batch_first=True), nn.Linear(8, 11)
    model = nn.ModuleDict({"embed": embed, "rnn": rnn, "head": head})
    optimizer = torch.optim.Muon([rnn.weight_hh_l0], lr=0.1)
    tokens = torch.randint(0, 11, (2, 6))

    def step():
        logits = head(rnn(embed(tokens))[0])
        F.cross_entropy(logits.flatten(0, 1), tokens.flatten()).backward()
        optimizer.step()

    t = trace(step, model=model, optimizer=optimizer, tokens=tokens)
    assert "   LSTM layer, backward\n" in str(t["rnn.weight_hh_l0"].grad.largest().why())
    number = t["rnn.weight_hh_l0"].update.largest()
    shares = {s.label: s.value for s in number.attribution("token").shares}
    # The state that the gradient is multiplied with is 0 before the first token.
    read = {f"token {token}" for token in tokens[:, 1:].unique().tolist()}
    assert read <= {*shares} <= {*read, "rnn.weight_hh_l0 (old value)"}
    moved = t["rnn.weight_hh_l0"].after.value - t["rnn.weight_hh_l0"].value
    assert abs(sum(shares.values())) == pytest.approx(moved.abs().max().item(), rel=1e-2)  # bf16


NARROW = {
    "ours, autocast": (lambda: GPT(), torch.autocast("cpu", dtype=torch.bfloat16)),
    "ours, fused": (lambda: GPT(fused=True), torch.autocast("cpu", dtype=torch.bfloat16)),
    "ours, tied": (lambda: GPT(tied=True), torch.autocast("cpu", dtype=torch.bfloat16)),
    "gpt2": (lambda: transformer("gpt2"), torch.autocast("cpu", dtype=torch.bfloat16)),
    "llama": (lambda: transformer("llama"), torch.autocast("cpu", dtype=torch.bfloat16)),
    "llama, all in bfloat16": (lambda: transformer("llama").bfloat16(), contextlib.nullcontext()),
}


@pytest.mark.parametrize(("make", "narrow"), NARROW.values(), ids=NARROW)
def test_under_bfloat16_a_logit_is_blamed_on_its_tokens_and_modules(make, narrow):
    torch.manual_seed(0)
    model, (tokens, _) = make(), text()

    def step() -> torch.Tensor:
        with narrow:
            out = model(tokens)
        return out if isinstance(out, torch.Tensor) else out.logits

    t = trace(step, model=model)
    number = t.number("logits[1,5,4]")
    by_token = number.attribution("token")
    assert [share.label for share in by_token.shares] == [f"token {tokens[1, 5]}"]
    assert {s.label for s in number.attribution("position").shares} == {"position 5"}
    by_module = {share.label: share.value for share in number.attribution("module").shares}
    assert not any("old value" in label for label in by_module)
    # What the embedding wrote, scaled by the last norm and read by the head, in float64.
    embedding = next(m for m in model.modules() if isinstance(m, nn.Embedding))
    final = [m for m in model.modules() if "norm" in type(m).__name__.lower()][-1]
    head = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    seen = {}
    final.register_forward_hook(lambda m, x, y: seen.update(x=x[0][1, 5].double()))
    step()
    x, written = seen["x"], embedding.weight[tokens[1, 5]].double()
    gain = final.weight.double()
    if isinstance(final, nn.LayerNorm):
        scale = torch.rsqrt(x.var(unbiased=False) + final.eps)
        written = written - written.mean()
    else:
        scale = torch.rsqrt(x.square().mean() + final.variance_epsilon)
    terms = (written * scale * gain * head.weight[4].double()).detach()
    expected = float(terms.sum())
    label = next(n for n, m in model.named_modules() if m is embedding)
    assert by_module[label] == pytest.approx(
        expected, rel=0.05, abs=0.02 * float(terms.abs().sum())
    )
