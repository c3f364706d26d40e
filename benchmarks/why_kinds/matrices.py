"""Products and decompositions of matrices, Fourier transforms, complex numbers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.why_kinds.making import Kind, applied, draw, layer

L = torch.linalg


def _positive(formula: Callable[[Tensor], object]) -> Kind:
    """A function of a positive definite matrix."""
    return applied(lambda x: formula(x @ x.mT + 3 * torch.eye(x.shape[-1])), (2, 4, 4))


def _square(formula: Callable[[Tensor], object]) -> Kind:
    return applied(lambda x: formula(x + 3 * torch.eye(x.shape[-1])), (2, 4, 4))


def _complex(formula: Callable[[Tensor], object]) -> Kind:
    return applied(lambda x: formula(torch.complex(x, x.roll(1, 1))), (3, 4))


def _spectral_layer(x: Tensor, w: Tensor) -> Tensor:
    spectrum = torch.fft.rfft(x) * torch.view_as_complex(w)
    return torch.fft.irfft(spectrum, n=x.shape[-1])


def _stft(x: Tensor) -> Tensor:
    spectrum = torch.stft(x, 8, 4, window=torch.hann_window(8), return_complex=True)
    return torch.istft(spectrum, 8, 4, window=torch.hann_window(8)) + spectrum.abs().sum()


def _mamba(x: Tensor, a: Tensor) -> Tensor:
    state, out = torch.zeros(2, 3), []
    for t in range(x.shape[1]):
        state = (-a.exp()).exp() * state + x[:, t]
        out.append(state)
    return torch.stack(out, 1)


F = torch.fft

KINDS: dict[str, Kind] = {
    "mm": applied(torch.mm, (3, 4), (4, 5)),
    "bmm": applied(torch.bmm, (2, 3, 4), (2, 4, 5)),
    "matmul, broadcast": applied(torch.matmul, (2, 1, 3, 4), (5, 4, 2)),
    "mv": applied(torch.mv, (3, 4), (4,)),
    "outer": applied(torch.outer, (3,), (4,)),
    "addr": applied(torch.addr, (3, 4), (3,), (4,)),
    "addbmm": applied(torch.addbmm, (3, 5), (2, 3, 4), (2, 4, 5)),
    "baddbmm": applied(torch.baddbmm, (2, 3, 5), (2, 3, 4), (2, 4, 5)),
    "inner": applied(torch.inner, (3, 4), (5, 4)),
    "tensordot": applied(lambda x, y: torch.tensordot(x, y, 1), (2, 3, 4), (4, 5)),
    "einsum": applied(lambda x, y: torch.einsum("bij,bkj->bik", x, y), (2, 3, 4), (2, 5, 4)),
    "einsum of three": applied(
        lambda x, y, z: torch.einsum("i,ij,j->", x, y, z), (3,), (3, 4), (4,)
    ),
    "multi_dot": applied(lambda x, y, z: L.multi_dot([x, y, z]), (3, 4), (4, 5), (5, 2)),
    "kron": applied(torch.kron, (2, 3), (3, 2)),
    "Bilinear": lambda: layer(nn.Bilinear(3, 4, 5), draw(2, 3), draw(2, 4)),
    "cross": applied(lambda x, y: L.cross(x, y), (4, 3), (4, 3)),
    "cdist": applied(torch.cdist, (3, 4), (5, 4)),
    "cdist, p 1": applied(lambda x, y: torch.cdist(x, y, p=1.0), (3, 4), (5, 4)),
    "cdist, many": applied(
        lambda x, y: torch.cdist(x, y, compute_mode="use_mm_for_euclid_dist"), (3, 4), (5, 4)
    ),
    "pdist": applied(nn.functional.pdist, (5, 4)),
    "matrix_power": _square(lambda a: L.matrix_power(a, 3)),
    "matrix_exp": applied(lambda x: torch.matrix_exp(x * 0.3), (3, 3)),
    "inverse": _square(L.inv),
    "pinv": applied(L.pinv, (4, 3)),
    "solve": applied(lambda a, b: L.solve(a + 3 * torch.eye(4), b), (4, 4), (4, 2)),
    "triangular solve": applied(
        lambda a, b: L.solve_triangular((a + 3 * torch.eye(4)).triu(), b, upper=True),
        (4, 4),
        (4, 2),
    ),
    "lstsq": applied(lambda a, b: L.lstsq(a, b).solution, (5, 3), (5, 2)),
    "cholesky": _positive(L.cholesky),
    "cholesky_solve": _positive(lambda a: torch.cholesky_solve(a[:, :, :2], L.cholesky(a))),
    "cholesky_inverse": _positive(lambda a: torch.cholesky_inverse(L.cholesky(a))),
    "det": _square(L.det),
    "slogdet": _square(lambda a: L.slogdet(a).logabsdet),
    "logdet": _positive(torch.logdet),
    "qr": applied(lambda x: L.qr(x), (4, 3)),
    "lu": _square(lambda a: L.lu(a)[1:]),
    "svd": applied(lambda x: L.svd(x, full_matrices=False).S, (4, 3)),
    "svd with vectors": applied(lambda x: [v.abs() for v in L.svd(x, full_matrices=False)], (4, 3)),
    "svdvals": applied(L.svdvals, (4, 3)),
    "eigh": _positive(lambda a: (L.eigh(a)[0], L.eigh(a)[1].abs())),
    "eigvalsh": _positive(L.eigvalsh),
    "eig": _square(lambda a: L.eig(a)[0].abs()),
    "nuclear norm": applied(lambda x: L.matrix_norm(x, "nuc"), (4, 3)),
    "spectral norm": applied(lambda x: L.matrix_norm(x, 2), (4, 3)),
    "fft": applied(lambda x: F.fft(x).abs(), (3, 6)),
    "ifft": _complex(lambda z: F.ifft(z)),
    "rfft": applied(lambda x: F.rfft(x), (3, 6)),
    "irfft": _complex(lambda z: F.irfft(z)),
    "fft2": applied(lambda x: F.fft2(x), (4, 4)),
    "rfft2 and back": applied(lambda x: F.irfft2(F.rfft2(x) * 0.5), (4, 4)),
    "fftn": applied(lambda x: F.fftn(x), (3, 4)),
    "hfft": _complex(lambda z: F.hfft(z)),
    "fftshift": applied(lambda x: F.fftshift(F.fft(x)), (3, 6)),
    "Fourier layer": applied(_spectral_layer, (3, 8), (5, 2)),
    "stft": applied(_stft, (32,)),
    "complex": applied(lambda x, y: torch.complex(x, y), (3,), (3,)),
    "complex product": _complex(lambda z: z * z.conj().roll(1, 0)),
    "complex quotient": _complex(lambda z: z / (z.roll(1, 0) + 2)),
    "complex matrix": _complex(lambda z: z @ z.mT.conj()),
    "complex functions": _complex(lambda z: (z.exp(), z.sin(), (z + 3).log(), z.tanh())),
    "complex root": _complex(lambda z: (z + 3).sqrt() + z**2),
    "abs of a complex": _complex(lambda z: z.abs()),
    "angle": _complex(lambda z: z.angle()),
    "polar": applied(lambda x, y: torch.polar(x.abs(), y), (3,), (3,)),
    "real and imaginary": _complex(lambda z: z.real * 2 + z.imag),
    "view_as_real": _complex(lambda z: torch.view_as_real(z)),
    "rotary by complex numbers": applied(
        lambda x: torch.view_as_real(
            torch.view_as_complex(x.view(3, 2, 2)) * torch.polar(torch.ones(2), torch.arange(2.0))
        ),
        (3, 4),
    ),
    "state space, scanned": applied(_mamba, (2, 5, 3), (3,)),
}
