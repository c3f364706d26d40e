"""The settings of a process that the bits of a step depend on: set for a step, then restored.

PyTorch keeps most of them for the whole process. A run's work sets those it needs and gives the
caller's back when it is done, and between two events of a training.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar

import torch

from whence.scale.openmp import as_many_as_asked

Item = TypeVar("Item")


class Setting(NamedTuple):
    """One setting of the process.

    Attributes:
        read: returns what it is now.
        write: makes it another.
        ours: what our steps need.
    """

    read: Callable[[], Any]
    write: Callable[[Any], None]
    ours: Any


# How float32 is multiplied, by library and operation; as PyTorch sets it out of itself.
EXACT, TF32 = ("none", "ieee"), ("tf32",)
PRODUCTS = {
    ("mkldnn", "matmul"): EXACT,
    ("mkldnn", "conv"): EXACT,
    ("mkldnn", "rnn"): EXACT,
    ("cuda", "matmul"): EXACT,
    ("cuda", "conv"): TF32,
    ("cuda", "rnn"): TF32,
}


def _flag(owner: Any, name: str, ours: Any) -> Setting:
    return Setting(partial(getattr, owner, name), partial(setattr, owner, name), ours)


# PyTorch's own default, except for matrix products on CUDA.
_ROUNDED = (None, tuple("tf32" if k == ("cuda", "matmul") else v[-1] for k, v in PRODUCTS.items()))


@cache
def _settings(threads: int | None, deterministic: bool, device: str, tf32: bool) -> list[Setting]:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    sdp, found = torch.backends.cuda, [_deterministic(deterministic)]
    if threads is not None:
        found.append(Setting(torch.get_num_threads, torch.set_num_threads, threads))
    found += [
        # Filling fresh memory before it is written guards against nothing here, and costs time.
        _flag(torch.utils.deterministic, "fill_uninitialized_memory", False),  # pyright: ignore
        Setting(torch.get_default_dtype, torch.set_default_dtype, torch.float32),
        Setting(_float32_products, _set_float32_products, _ROUNDED if tf32 else None),
        Setting(lambda: torch._C._get_mkldnn_enabled(), torch._C._set_mkldnn_enabled, True),
        Setting(torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled, True),
        Setting(sdp.flash_sdp_enabled, sdp.enable_flash_sdp, True),
        Setting(sdp.mem_efficient_sdp_enabled, sdp.enable_mem_efficient_sdp, True),
        Setting(sdp.math_sdp_enabled, sdp.enable_math_sdp, True),
    ]
    for kind in {"cpu", device}:  # inside a caller's autocast a step still has its own precision
        found.append(
            Setting(
                partial(torch.is_autocast_enabled, kind),
                partial(torch.set_autocast_enabled, kind),
                False,
            )
        )
    if device == "cuda":
        found += [
            _flag(cudnn, "enabled", True),
            _flag(cudnn, "benchmark", False),
            _flag(cudnn, "deterministic", False),
            _flag(matmul, "allow_bf16_reduced_precision_reduction", True),
            # cuBLAS reads this when it starts; without it deterministic kernels are refused.
            Setting(_workspace, _set_workspace, os.environ.get(WORKSPACE, ":4096:8")),
        ]
    return found


def _deterministic(ours: bool) -> Setting:
    def read() -> tuple[bool, bool]:
        only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
        return torch.are_deterministic_algorithms_enabled(), only_warned

    def write(value: tuple[bool, bool]) -> None:
        if "torch._inductor.config" in sys.modules:
            torch.use_deterministic_algorithms(value[0], warn_only=value[1])
        else:  # the same without loading PyTorch's compiler, which takes longer than a first token
            torch._C._set_deterministic_algorithms(value[0], warn_only=value[1])

    return Setting(read, write, (ours, False))


WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def _workspace() -> str | None:
    return os.environ.get(WORKSPACE)


def _set_workspace(value: str | None) -> None:
    if value is None:
        os.environ.pop(WORKSPACE, None)
    else:
        os.environ[WORKSPACE] = value


def _float32_products() -> tuple[str | None, tuple[str, ...]] | None:
    """What differs from PyTorch's own; None where nothing does."""
    each = tuple(torch._C._get_fp32_precision_getter(*key) for key in PRODUCTS)
    try:
        legacy = torch.get_float32_matmul_precision()
    except RuntimeError:  # so it answers once the newer settings were used as well
        legacy = None
    as_usual = all(now in usual for now, usual in zip(each, PRODUCTS.values(), strict=True))
    return None if as_usual and legacy in ("highest", None) else (legacy, each)


def _set_float32_products(value: tuple[str | None, tuple[str, ...]] | None) -> None:
    legacy, each = value or ("highest", tuple(usual[-1] for usual in PRODUCTS.values()))
    if legacy is not None:
        torch.set_float32_matmul_precision(legacy)
    for key, wanted in zip(PRODUCTS, each, strict=True):
        if torch._C._get_fp32_precision_getter(*key) != wanted:
            torch._C._set_fp32_precision_setter(*key, wanted)


_held = threading.RLock()  # the settings are the process's: one thread at a time has them its way
_in_force: list[tuple] = []  # by the thread that holds the lock, the innermost last


@contextmanager
def conditions(
    threads: int | None, deterministic: bool, device: str, tf32: bool = False
) -> Iterator[None]:
    """Make the process's settings those that a run's steps need, and put all of them back.

    PyTorch's random generators are put back, too. Other threads of ours wait meanwhile; what else
    the process runs sees the settings as long as a step takes.

    Args:
        threads: how many CPU threads; none: as many as there are now.
        deterministic: only kernels that give the same bits every time.
        device: where the steps are computed.
        tf32: let CUDA's float32 products round their factors to 10 bits, which is faster.

    Example:
        >>> before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
        >>> with conditions(1, deterministic=True, device="cpu"):
        ...     torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
        (1, True)
        >>> before == (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
        True
    """
    wanted = (threads, deterministic, device, tf32)
    with _held:
        if _in_force and _in_force[-1] == wanted:
            yield  # already so, by one of our own callers
            return
        with ExitStack() as undo:
            undo.enter_context(as_many_as_asked())
            undo.enter_context(_generators_put_back(device))
            undo.enter_context(_denormals_kept())
            if torch.get_default_device().type != "cpu":  # a mode, which costs every operation
                undo.enter_context(torch.device("cpu"))
            for setting in _settings(*wanted):
                before = setting.read()
                if before != setting.ours:
                    undo.callback(setting.write, before)
                    setting.write(setting.ours)
            _in_force.append(wanted)
            undo.callback(_in_force.pop)
            yield


@contextmanager
def _generators_put_back(device: str) -> Iterator[None]:
    states = torch.get_rng_state()
    on_device = _device_states(device)
    try:
        yield
    finally:
        torch.set_rng_state(states)
        if on_device is not None:
            on_device()


def _device_states(device: str) -> Callable[[], None] | None:
    if device == "cuda" and torch.cuda.is_initialized():
        return partial(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())
    if device == "mps":
        return partial(torch.mps.set_rng_state, torch.mps.get_rng_state())
    return None


@contextmanager
def _denormals_kept() -> Iterator[None]:
    """Keep denormal numbers in this thread, even if the caller flushes them to 0."""
    flushed = float.fromhex("0x1p-1074") * 1.0 == 0.0
    if flushed:
        torch.set_flush_denormal(False)
    try:
        yield
    finally:
        if flushed:
            torch.set_flush_denormal(True)


def each_within(
    context: Callable[[], AbstractContextManager], items: Iterable[Item]
) -> Iterator[Item]:
    """Yield the items of a generator that works inside a context, which is left between two items.

    Example:
        >>> list(each_within(lambda: conditions(1, True, "cpu"), range(3)))
        [0, 1, 2]
    """
    iterator = iter(items)
    while True:
        with context():
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield item
