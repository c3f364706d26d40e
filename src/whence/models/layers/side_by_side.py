"""A model's weights in one piece of memory, in the order in which they are read."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

LINE = 64  # bytes that a processor reads at once


def side_by_side(model: nn.Module) -> None:
    """Move a model's weights into one piece of memory, on a CPU; their values stay.

    A system hands memory out in pages of 4 KB, and looks up where each of them lies. For a large
    piece NumPy asks Linux for pages of 2 MB: weights that are read from one end to the other then
    come a tenth faster. The model has other parameters afterwards: this is for one that generates.

    Args:
        model: on a CPU; on other devices nothing is done.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
        >>> side_by_side(net)
        >>> len({p.untyped_storage().data_ptr() for p in net.parameters()})
        1
    """
    tensors = dict.fromkeys((*model.parameters(), *model.buffers()))  # each once
    if any(each.device.type != "cpu" for each in tensors):
        return
    sizes = [-(-each.nbytes // LINE) * LINE for each in tensors]
    room = torch.from_numpy(np.empty(sum(sizes) + LINE, np.uint8))
    moved: dict[Tensor, Any] = {}
    at = -room.data_ptr() % LINE
    for each, size in zip(tensors, sizes, strict=True):
        place = room[at : at + each.nbytes].view(each.dtype).view(each.shape)
        place.copy_(each.detach())
        is_learned = isinstance(each, nn.Parameter)
        moved[each] = nn.Parameter(place, each.requires_grad) if is_learned else place
        at += size
    for module in model.modules():
        for name, old in module.named_parameters(recurse=False):
            module.register_parameter(name, moved[old])
        for name, old in module.named_buffers(recurse=False):
            module.register_buffer(name, moved[old])
