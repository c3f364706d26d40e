"""Networks for images, as people build them from torch.nn."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.why_kinds.making import Kind, Step, classify, trained


class Residual(nn.Module):
    """The sum of a module's input and output."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """The module's formula."""
        return F.relu(x + self.inner(x))


def _block(c: int) -> nn.Module:
    return Residual(
        nn.Sequential(
            nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c), nn.ReLU(inplace=True),
            nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c),
        )
    )  # fmt: skip


def _lenet() -> Step:
    features = [nn.Conv2d(1, 4, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(4, 6, 3), nn.Tanh()]
    return classify(
        nn.Sequential(*features, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(24, 3)), 2, 1, 16, 16
    )


def _vgg() -> Step:
    body = [
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3),
        nn.ReLU(),
    ]
    return classify(
        nn.Sequential(*body, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 3)), 2, 3, 8, 8
    )


def _resnet() -> Step:
    stem = [
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(3, 1, 1),
    ]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)]
    return classify(nn.Sequential(*stem, _block(4), _block(4), *head), 3, 3, 9, 9, clip=1.0)


def _mobile() -> Step:
    body = [
        nn.Conv2d(3, 8, 1),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.BatchNorm2d(8),
    ]
    tail = [
        nn.Hardswish(),
        nn.Conv2d(8, 4, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    ]
    return classify(nn.Sequential(*body, *tail), 3, 3, 6, 6)


class Gate(nn.Module):
    """Squeeze and excitation: channels weighed by their means."""

    def __init__(self, c: int):
        super().__init__()
        self.weigh = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(c, c, 1), nn.Hardsigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """The module's formula."""
        return x * self.weigh(x)


def _squeeze() -> Step:
    return classify(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), Gate(4), nn.Flatten(), nn.Linear(64, 3)),
        2,
        3,
        6,
        6,
    )


def _convnext() -> Step:
    block = nn.Sequential(
        nn.Conv2d(4, 4, 5, padding=2, groups=4),
        nn.GroupNorm(1, 4),
        nn.Conv2d(4, 8, 1),
        nn.GELU(),
        nn.Conv2d(8, 4, 1),
    )
    return classify(
        nn.Sequential(nn.Conv2d(3, 4, 2, 2), Residual(block), nn.Flatten(), nn.Linear(64, 3)),
        2,
        3,
        8,
        8,
    )


class Patches(nn.Module):
    """A vision transformer of one block."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 2, 2)
        self.first, self.place = (
            nn.Parameter(torch.zeros(1, 1, 8)),
            nn.Parameter(torch.randn(1, 10, 8)),
        )
        self.block = nn.TransformerEncoderLayer(
            8, 2, 16, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """The module's formula."""
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.first.expand(len(x), -1, -1), tokens], 1) + self.place
        return self.head(self.block(tokens)[:, 0])


class UNet(nn.Module):
    """Down, up, and what was seen on the way down beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.low = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.up, self.out = nn.ConvTranspose2d(8, 4, 2, 2), nn.Conv2d(8, 1, 3, padding=1)
        self.norm = nn.GroupNorm(2, 4)

    def forward(self, x: Tensor) -> Tensor:
        """The module's formula."""
        high = F.silu(self.norm(self.down(x)))
        low = F.silu(self.low(F.max_pool2d(high, 2)))
        return self.out(torch.cat([high, self.up(low)], 1))


def _unet() -> Step:
    model, x = UNet(), torch.randn(2, 1, 8, 8)
    y = (torch.rand(2, 1, 8, 8) > 0.5).float()
    return trained(model, lambda: F.binary_cross_entropy_with_logits(model(x), y))


def _diffusion() -> Step:
    model, x, noise = UNet(), torch.randn(2, 1, 8, 8), torch.randn(2, 1, 8, 8)
    keep = torch.tensor([0.9, 0.5]).view(2, 1, 1, 1)
    return trained(
        model, lambda: F.mse_loss(model(keep.sqrt() * x + (1 - keep).sqrt() * noise), noise)
    )


def _autoencoder() -> Step:
    down = [nn.Conv2d(1, 4, 3, 2, 1), nn.ELU(), nn.Conv2d(4, 4, 3, 2, 1)]
    up = [
        nn.Upsample(scale_factor=2),
        nn.Conv2d(4, 4, 3, 1, 1),
        nn.ELU(),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.Conv2d(4, 1, 1),
    ]
    model, x = nn.Sequential(*down, *up), torch.randn(2, 1, 8, 8)
    return trained(model, lambda: F.l1_loss(model(x), x))


def _superresolution() -> Step:
    model, x = (
        nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.PReLU(), nn.PixelShuffle(2)),
        torch.randn(2, 1, 4, 4),
    )
    y = torch.randn(2, 1, 8, 8)
    return trained(
        model, lambda: F.smooth_l1_loss(model(x), y) + F.l1_loss(F.avg_pool2d(model(x), 2), x)
    )


def _style() -> Step:
    model, x = (
        nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4, affine=True)),
        torch.randn(2, 3, 6, 6),
    )

    def loss() -> Tensor:
        y = model(x).flatten(2)
        return (y @ y.mT / y.shape[-1]).square().mean()

    return trained(model, loss)


def _detector() -> Step:
    body, box, kind = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)
    model, x = nn.ModuleList([body, box, kind]), torch.randn(2, 3, 8, 8)
    goal, there = torch.rand(2, 4, 4, 4), torch.randint(0, 2, (2, 4, 4))

    def loss() -> Tensor:
        h = F.leaky_relu(body(x), 0.1)
        b = box(h).sigmoid()
        inter = torch.minimum(b, goal).prod(1)
        union = b.prod(1) + goal.prod(1) - inter
        return F.cross_entropy(kind(h), there) + (1 - inter / union.clamp(min=1e-6)).mean()

    return trained(model, loss)


def _capsules() -> Step:
    w, x = nn.Parameter(torch.randn(3, 4, 4, 4) * 0.1), torch.randn(2, 4, 4)
    model = nn.ParameterList([w])

    def loss() -> Tensor:
        votes = torch.einsum("ojkl,bjl->bojk", w, x)
        scores = torch.zeros(2, 3, 4)
        out = votes.sum(2)
        for _ in range(2):
            s = (scores.softmax(1)[..., None] * votes).sum(2)
            size = s.square().sum(-1, keepdim=True)
            out = size / (1 + size) * s / (size.sqrt() + 1e-8)
            scores = scores + (votes * out[:, :, None]).sum(-1)
        return F.relu(0.9 - out.norm(dim=-1)).square().mean()

    return trained(model, loss)


KINDS: dict[str, Kind] = {
    "LeNet": _lenet,
    "VGG": _vgg,
    "ResNet": _resnet,
    "MobileNet": _mobile,
    "squeeze and excitation": _squeeze,
    "ConvNeXt": _convnext,
    "vision transformer": lambda: classify(Patches(), 2, 3, 6, 6),
    "U-Net": _unet,
    "diffusion": _diffusion,
    "convolutional autoencoder": _autoencoder,
    "super-resolution": _superresolution,
    "style transfer": _style,
    "detector": _detector,
    "capsules": _capsules,
}
