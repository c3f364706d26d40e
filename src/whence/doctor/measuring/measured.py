"""What is measured at one step: weights, units, attentions, blocks, logits."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(slots=True)
class Weight:
    """A parameter at one step.

    Attributes:
        name: its address.
        shape: its shape.
        rms: √mean(w²) before the update.
        grad_norm: ‖g‖ as the update saw it; NaN where it had no gradient.
        grad_mean: mean |g|.
        update_rms: √mean(Δ²) of what the update did.
        stuck: share of the numbers with a gradient that the update left as they were, to the bit.
        trainable: whether it asks for a gradient.
        optimized: whether an optimizer has it.
        decay: the weight decay of its group; None where it isn't known.
        alike: whether all its rows are equal and not 0.
        role: embedding, norm, matrix or other.
        dtype: such as float32.
        still_rows: of an embedding: rows that were read and didn't move, as a share of those read.
        unread_rows: of an embedding: share of the rows whose token didn't come in what was read.
        zero: whether all its numbers are 0.

    Example:
        >>> head = Weight(
        ...     "head.weight", (65, 64), 0.02, 0.5, 1e-3, update_rms=2e-5, stuck=0.0,
        ...     trainable=True, optimized=True, decay=0.1, alike=False, role="matrix",
        ...     dtype="float32",
        ... )
        >>> round(head.ratio, 4)
        0.001
    """

    name: str
    shape: tuple[int, ...]
    rms: float
    grad_norm: float
    grad_mean: float
    update_rms: float
    stuck: float
    trainable: bool
    optimized: bool
    decay: float | None
    alike: bool
    role: str
    dtype: str
    still_rows: float = 0.0
    unread_rows: float = 0.0
    zero: bool = False

    @property
    def ratio(self) -> float:
        """The update's size for each of the weight's: rms(Δ)/rms(w); 0 for a weight of zeros."""
        return self.update_rms / self.rms if self.rms > 0 else 0.0


@dataclass(slots=True)
class Units:
    """The outputs of an activation function or a recurrent layer, over all that was read.

    Attributes:
        name: the module and the function, such as `blocks.0.mlp.relu`.
        function: relu, tanh, sigmoid or another.
        n: how many units.
        inputs: on how many inputs they were seen.
        dead: share of the units that are active on less than 1 % of the inputs.
        saturated: share of the values at the ends: |tanh| > 0.97, or a sigmoid's beyond 0.97.
        rms: √mean of the squares of what went in.

    Example:
        >>> relu = Units("blocks.0.mlp.relu", "relu", 64, 500, dead=0.25, saturated=0.0, rms=1.2)
        >>> round(relu.dead * relu.n)  # units that are never active
        16
    """

    name: str
    function: str
    n: int
    inputs: int
    dead: float
    saturated: float
    rms: float


@dataclass(slots=True)
class Reading:
    """One attention at one step.

    Attributes:
        name: the module.
        entropy: mean over queries with four keys or more of H/ln(keys): 1 reads all evenly.
        rows: the largest difference of a query's weights' sum from 1.
        ahead: the largest weight on a key behind its query; NaN where queries and keys differ.
        scale: what the products were multiplied by, times √d: 1 as in the paper; NaN: unknown.
        scores: standard deviation of the scores.
        d: length of a head's vectors.
        collapsed: share of heads whose entropy is near 0.
        axis: whether the softmax ran along the keys.

    Example:
        >>> even = Reading("blocks.0.attn", 0.99, 0.0, 0.0, 1.0, scores=0.1, d=32, collapsed=0.0)
        >>> even.entropy > 0.95  # every key is read about alike
        True
    """

    name: str
    entropy: float
    rows: float
    ahead: float
    scale: float
    scores: float
    d: int
    collapsed: float
    axis: bool = True


@dataclass(slots=True)
class Flow:
    """A block with siblings of the same kind: what went in and came out.

    Attributes:
        name: the module.
        carried: cosine between input and output.
        rms_in: √mean of the squares of what went in.
        rms: √mean of the squares of its output.
        grad: norm of the gradient at its output.

    Example:
        >>> block = Flow("blocks.0", carried=0.98, rms_in=1.0, rms=1.1, grad=1e-3)
        >>> round(block.rms / block.rms_in, 2)
        1.1
    """

    name: str
    carried: float
    rms_in: float
    rms: float
    grad: float


@dataclass(slots=True)
class Predicted:
    """The logits of a step, and what their gradient tells of the targets.

    With cross-entropy the gradient of a row is s·(p − y): the one negative number is at the target,
    and s is the weight that the row has in the loss.

    Attributes:
        shape: of the logits.
        classes: V.
        largest: max |logit|.
        log_z: mean of ln Σ exp(logit).
        known: whether the targets could be told.
        targets: flat, −1 where a row isn't counted.
        tokens: the ids that went in, of the same shape where each has a target; else None.
        losses: −ln P(target) of each counted row, NaN else, in the shape of the rows.
        weights: s of each row.
        calls: how many backward passes made up the step's gradient.
        call_weights: Σ s of each of them.
        entropy: of the distribution of this step's targets, nats.
        row_share: share of each example in the squared gradient at the logits.
        empty_rows: share of examples without a single counted target.
        call_spread: how far the rows' weights differ between the calls: largest / smallest − 1.
        boundary: −ln P of each example's first token, read as going on from the one before; NaN:
            unknown.
        length: tokens of an example, where each token has a target; else 0.
        away: share of the gradient at the logits that drives ln Z away from 0; below 0: towards it,
            as the z-loss does; 0 of cross-entropy.

    Example:
        >>> nothing = np.zeros(0)
        >>> logits = Predicted(
        ...     (8, 64, 65), 65, 3.2, 4.2, True, nothing, None, nothing, nothing, calls=1
        ... )
        >>> logits.classes
        65
    """

    shape: tuple[int, ...]
    classes: int
    largest: float
    log_z: float
    known: bool
    targets: np.ndarray
    tokens: np.ndarray | None
    losses: np.ndarray
    weights: np.ndarray
    calls: int = 1
    call_weights: tuple[float, ...] = ()
    call_spread: float = 0.0
    entropy: float = float("nan")
    row_share: np.ndarray = field(default_factory=lambda: np.zeros(0))
    empty_rows: float = 0.0
    boundary: float = float("nan")
    length: int = 0
    away: float = 0.0


@dataclass(slots=True)
class Measured:
    """What was measured at one step, done again.

    Attributes:
        step: which.
        weights: all parameters.
        units: activation functions.
        readings: attentions.
        flows: blocks.
        predicted: the logits; None where there are none.
        train_mode: whether the model was in training mode.
        dropout: share that its dropout layers set to 0, the largest; 0: there are none.
        idle_dropout: whether layers with dropout were in evaluation mode.
        quiet_parts: weights of parts in evaluation mode while the model trains.
        refused: what the step raised, if a number wasn't finite.
        stale: ‖gradient that the step began with‖ / ‖gradient that the update saw‖.
        stale_is_last: whether what it began with is what the last update saw, to the bit.
        seen: norm of the gradient that the update saw.
        fresh: norm of the gradient that the backward passes added.
        multiplied_by: what all gradients were multiplied by before the update, as clipping does.
        loss: of the step.
        cleared: the backward passes made gradients, and the update saw none.
        bad_outputs: names of module outputs that aren't finite, in the order of computing.

    Example:
        >>> step = Measured(step=0, loss=4.17, dropout=0.1)
        >>> step.trained  # nothing has a weight yet
        []
    """

    step: int
    weights: dict[str, Weight] = field(default_factory=dict)
    units: list[Units] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)
    predicted: Predicted | None = None
    dropout: float = 0.0
    idle_dropout: bool = False
    quiet_parts: tuple[str, ...] = ()
    refused: str = ""
    stale: float = 0.0
    stale_is_last: bool = False
    seen: float = 0.0
    fresh: float = float("nan")
    multiplied_by: float = 1.0
    loss: float = float("nan")
    cleared: bool = False
    bad_outputs: tuple[str, ...] = ()

    @property
    def trained(self) -> list[Weight]:
        """The parameters that an optimizer is there to move."""
        return [w for w in self.weights.values() if w.trainable and w.optimized]

    @property
    def ratio(self) -> float:
        """The median of the matrices' update-to-weight ratios; NaN where there are none."""
        found = [w.ratio for w in self.trained if len(w.shape) >= 2 and w.rms > 0]
        return float(np.median(found)) if found else float("nan")
