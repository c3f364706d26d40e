"""A process's own share of a tensor that is split among several, and the whole of it."""

import sys
from typing import Any

from torch import Tensor


def is_split(tensor: Tensor) -> bool:
    """Tell whether a tensor is PyTorch's `DTensor`, split among processes.

    Example:
        >>> import torch
        >>> is_split(torch.ones(2))
        False
    """
    loaded = sys.modules.get("torch.distributed.tensor")  # elsewhere there are none
    return loaded is not None and isinstance(tensor, loaded.DTensor)


def own(tensor: Any) -> Tensor:
    """Return this process's share; of a tensor that isn't split, the tensor."""
    return tensor.to_local() if is_split(tensor) else tensor


def whole(tensor: Any) -> Tensor:
    """Return all of a tensor, gathered from every process."""
    return tensor.full_tensor() if is_split(tensor) else tensor


def split_as(share: Tensor, like: Any) -> Any:
    """Return the tensor whose shares are these, split as another one is."""
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(
        share, like.device_mesh, like.placements, shape=like.shape, stride=like.stride()
    )


def whole_of(share: Tensor, like: Any) -> Tensor:
    """Gather the tensor whose shares are split as another one is."""
    return whole(split_as(share, like)) if is_split(like) else share


def share_of(tensor: Tensor, like: Any) -> Tensor:
    """Cut this process's share out of a tensor that every process has, as another one is split."""
    if not is_split(like):
        return tensor
    from torch.distributed.tensor import DTensor, Replicate

    everywhere = DTensor.from_local(tensor, like.device_mesh, [Replicate()])
    return everywhere.redistribute(like.device_mesh, like.placements).to_local()
