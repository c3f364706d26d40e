"""Training loops as people write them; `note` is called behind each step, with nothing to do."""

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.c_attn, self.c_proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.mlp = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))
        self.drop, self.heads = nn.Dropout(0.1), heads

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = self.c_attn(self.ln_1(x)).split(D, dim=2)
        q, k, v = (t.view(B, T, self.heads, D // self.heads).transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=0.1 * self.training, is_causal=True)
        x = x + self.drop(self.c_proj(y.transpose(1, 2).reshape(B, T, D)))
        return x + self.drop(self.mlp(self.ln_2(x)))


class NanoGPT(nn.Module):
    """Like nanoGPT's: the head is tied, and the loss comes with the logits."""

    def __init__(self, vocabulary=13, d=16, layers=2):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocabulary, d), nn.Embedding(8, d)
        self.h = nn.ModuleList(Block(d, 2) for _ in range(layers))
        self.lm_head = nn.Linear(d, vocabulary, bias=False)
        self.wte.weight = self.lm_head.weight

    def forward(self, idx, targets=None):
        x = self.wte(idx) + self.wpe(torch.arange(idx.shape[1]))
        for block in self.h:
            x = block(x)
        logits = self.lm_head(x)
        if targets is None:
            return logits, None
        return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))


def tokens(n=4):
    both = torch.randint(13, (n, 9))
    return both[:, :-1].contiguous(), both[:, 1:].contiguous()


def nanogpt(watch, note, steps=6, amp=False):
    """Accumulation, clipping, a schedule, groups with and without decay, evaluation in between."""
    torch.manual_seed(0)
    model = NanoGPT()
    decay = [p for p in model.parameters() if p.dim() >= 2]
    rest = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}], lr=1e-2
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    watch(model, optimizer)
    for step in range(steps):
        if step % 2 == 0:
            model.eval()
            with torch.no_grad():
                model(*tokens())
            model.train()
        for _ in range(3):
            x, y = tokens()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=amp):
                _, loss = model(x, y)
                loss = loss / 3
            loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        note(model)
    return model


def amp(watch, note):
    return nanogpt(watch, note, amp=True)


def amp_in_one_region(watch, note):
    """Two calls share the weights that autocast has converted."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    watch(model, optimizer)
    for _ in range(5):
        optimizer.zero_grad(set_to_none=False)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.cross_entropy(model(torch.randn(7, 6)), torch.randint(3, (7,)))
            loss = loss + F.cross_entropy(model(torch.randn(7, 6)), torch.randint(3, (7,)))
        loss.backward()
        optimizer.step()
        note(model)
    return model


def scaler(watch, note):
    """fp16 with a GradScaler: the second iteration overflows and its update is skipped."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    watch(model, optimizer)
    for i in range(6):
        optimizer.zero_grad()
        x, y = torch.randn(5, 6), torch.randint(3, (5,))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.cross_entropy(model(x), y) * (float("inf") if i == 1 else 1.0)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 0.3)
        before = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        if scaler.get_scale() >= before:
            note(model)
    return model


def gan(watch, note):
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    critic = nn.Sequential(nn.Linear(2, 8), nn.LeakyReLU(0.2), nn.Dropout(0.2), nn.Linear(8, 1))
    opt_d = torch.optim.Adam(critic.parameters(), lr=2e-3, betas=(0.5, 0.999))
    opt_g = torch.optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.999))
    watch({"D": critic, "G": generator}, [opt_d, opt_g])
    bce = nn.BCEWithLogitsLoss()
    for _ in range(6):
        real, fake = torch.randn(6, 2) + 2, generator(torch.randn(6, 4))
        opt_d.zero_grad()
        bce(critic(real), torch.ones(6, 1)).backward()
        bce(critic(fake.detach()), torch.zeros(6, 1)).backward()
        opt_d.step()
        opt_g.zero_grad()
        bce(critic(fake), torch.ones(6, 1)).backward()
        opt_g.step()
        note(critic, generator)
    return critic, generator


def wgan(watch, note):
    """Several updates of the critic for each of the generator, and weights clamped in between."""
    torch.manual_seed(0)
    generator, critic = nn.Linear(4, 2), nn.Sequential(nn.Linear(2, 8), nn.ELU(), nn.Linear(8, 1))
    opt_d = torch.optim.RMSprop(critic.parameters(), lr=5e-3)
    opt_g = torch.optim.RMSprop(generator.parameters(), lr=5e-3)
    watch([critic, generator], [opt_d, opt_g])
    for _ in range(4):
        for _ in range(2):
            opt_d.zero_grad()
            with torch.no_grad():
                fake = generator(torch.randn(6, 4))
            (critic(fake).mean() - critic(torch.randn(6, 2)).mean()).backward()
            opt_d.step()
            with torch.no_grad():
                for p in critic.parameters():
                    p.clamp_(-0.1, 0.1)
        opt_g.zero_grad()
        (-critic(generator(torch.randn(6, 4))).mean()).backward()
        opt_g.step()
        note(critic, generator)
    return critic, generator


class CharRNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.rnn = nn.Embedding(13, 8), nn.LSTM(8, 12, batch_first=True)
        self.head = nn.Linear(12, 13)

    def forward(self, x, state=None):
        y, state = self.rnn(self.embed(x), state)
        return self.head(y), state


def rnn(watch, note):
    """Truncated backpropagation: the state goes on from batch to batch, detached."""
    torch.manual_seed(0)
    model = CharRNN()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, momentum=0.9)
    watch(model, optimizer)
    state = None
    for _ in range(6):
        x, y = tokens()
        if state is not None:
            state = tuple(s.detach() for s in state)
        logits, state = model(x, state=state)
        loss = F.cross_entropy(logits.transpose(1, 2), y)
        model.zero_grad()
        loss.backward()
        nn.utils.clip_grad_value_(model.parameters(), 0.01)
        optimizer.step()
        note(model)
    return model


class Stateful(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head, self.h = nn.GRUCell(3, 5), nn.Linear(5, 1), None

    def forward(self, x):
        h = None if self.h is None else self.h.detach()
        self.h = self.cell(x, h)
        return self.head(self.h)


def stateful(watch, note):
    """The state is an attribute of the module, and part of a graph."""
    torch.manual_seed(0)
    model = Stateful()
    model(torch.randn(2, 3))
    optimizer = torch.optim.Adagrad(model.parameters(), lr=1e-2)
    watch(model, optimizer)
    for _ in range(6):
        F.mse_loss(model(torch.randn(2, 3)), torch.ones(2, 1)).backward()
        optimizer.step()
        optimizer.zero_grad()
        note(model)
    return model


def vision(watch, note):
    """BatchNorm, Dropout2d, a frozen part, and an evaluation by eval() alone."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout2d(0.1),
        nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip
    model[0].weight.requires_grad_(False)
    optimizer = torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad], lr=0.05, momentum=0.9, weight_decay=1e-3
    )
    watch(model, optimizer)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    for _ in range(6):
        x, y = torch.randn(8, 1, 10, 10), torch.randint(3, (8,))
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
        note(model)
        model.eval()
        model(x).argmax(1)
        model.train()
    return model


def in_place(watch, note):
    """The loop writes to what the model returned, and adds a penalty on weights."""
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, amsgrad=True)
    watch(model, optimizer)
    for _ in range(5):
        logits = model(torch.randn(6, 4))
        logits /= 0.7
        logits[:, 0] += 1
        loss = F.cross_entropy(logits, torch.randint(3, (6,))) + 0.1 * model.weight.pow(2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        note(model)
    return model


def retained(watch, note):
    """Two backward passes through one graph, and a gradient that is only looked at."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch(model, optimizer)
    for _ in range(5):
        x = torch.randn(3, 4, requires_grad=True)
        out = model(x)
        a, b = out.pow(2).mean(), out.abs().mean()
        torch.autograd.grad(a, x, retain_graph=True)
        a.backward(retain_graph=True)
        b.backward()
        optimizer.step()
        optimizer.zero_grad()
        note(model)
    return model


def forgot_zero_grad(watch, note):
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    watch(model, optimizer)
    for _ in range(5):
        model(torch.randn(3, 4)).pow(2).mean().backward()
        optimizer.step()
        note(model)
    return model


def closure(watch, note):
    """The optimizer is given a closure, as Lightning does it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.Linear(6, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    watch(model, optimizer)
    for _ in range(5):
        x = torch.randn(3, 4)

        def step(x=x):
            optimizer.zero_grad()
            loss = model(x).pow(2).mean()
            loss.backward()
            return loss

        optimizer.step(step)
        note(model)
    return model


def checkpointed(watch, note):
    """Gradient checkpointing runs parts of the model again in the backward pass."""
    from torch.utils.checkpoint import checkpoint

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.ReLU())
            self.b = nn.Linear(8, 1)

        def forward(self, x):
            return self.b(checkpoint(self.a, x, use_reentrant=False))

    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch(model, optimizer)
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.randn(6, 4)).pow(2).mean().backward()
        optimizer.step()
        note(model)
    return model


def sparse(watch, note):
    torch.manual_seed(0)
    model = nn.Embedding(13, 4, sparse=True)
    optimizer = torch.optim.SparseAdam(list(model.parameters()), lr=0.01)
    watch(model, optimizer)
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.randint(13, (3, 5))).pow(2).sum().backward()
        optimizer.step()
        note(model)
    return model


def compiled(watch, note):
    """The compiled module is watched; without a fusing backend it computes the same bits."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    fast = torch.compile(model, backend="eager")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch(fast, optimizer)
    for _ in range(5):
        optimizer.zero_grad()
        fast(torch.randn(3, 4)).pow(2).mean().backward()
        optimizer.step()
        note(model)
    return model


def partly_frozen(watch, note):
    """A frozen layer, and one whose weight is made of two parameters."""
    torch.manual_seed(0)
    last = nn.utils.parametrizations.weight_norm(nn.Linear(6, 2))
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), last)
    model[0].requires_grad_(False)
    optimizer = torch.optim.NAdam([p for p in model.parameters() if p.requires_grad], lr=0.1)
    watch(model, optimizer)
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.randn(3, 4)).pow(2).mean().backward()
        optimizer.step()
        note(model)
    return model


def ema(watch, note):
    """An average of the weights is kept beside them, evaluated, and stepped over at odd steps."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 2))
    averaged = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9), use_buffers=True
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    watch(model, optimizer)
    for i in range(6):
        loss = model(torch.randn(5, 4)).pow(2).mean()
        if i == 3:
            continue  # a batch that the loop leaves out
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        averaged.update_parameters(model)
        with torch.no_grad():
            averaged(torch.randn(5, 4))
        note(model)
    return model


LOOPS = [
    nanogpt, amp, amp_in_one_region, scaler, gan, wgan, rnn, stateful, vision, in_place, retained,
    forgot_zero_grad, closure, checkpointed, sparse,
    compiled, partly_frozen, ema,
]  # fmt: skip
