"""Aggregate neighbours with a learnable commutative monoid.

Ong and Veličković, Learnable Commutative Monoids for Graph Neural Networks, LoG 2022, arXiv:2212.08541. The operator is
learned, and the neighbours are folded with it over a balanced tree. Differs from PyG's operator of the same name: the
batch stays ragged, so the work is that of the edges and a result depends on its own neighbours alone; a node without
any has a learned value of its own; and the paper's penalties are there.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch_geometric.nn.aggr import Aggregation

from models.commutative import BinaryGRU, Operator
from models.lcm_penalties import associativity_penalty, commutativity_penalty, neutrality_penalty
from models.pooled_fold import pooled_fold
from models.segment_order import canonical_order, random_order
from models.segments import pointer
from models.tree_fold import fold, segment_values
from models.tree_plan import TreePlan, make_plan

Order = Literal["given", "canonical"]
Engine = Literal["pooled", "autograd"]


class LCMAggregation(Aggregation):  # type: ignore[misc]
    """Rows x [E, C_in] to segments [S, C_out]; with heads and `dim=0`, [E, H, C_in] to [S, H, C_out], each by itself.

    `project` is a linear layer with ReLU before the fold. `op` is the operator, a `BinaryGRU` unless given. `identity`
    is what an empty segment gives: learned, or zero.

    The result of an operator that is not quite associative depends on the order of a segment's rows. `shuffle` mixes
    them at every training step, as the paper does; `order` holds otherwise: as given, or `canonical`, by what the rows
    hold (in training too). Of more than one, `num_orders` random orders are averaged, in evaluation always the same.

    The weights charge the operator, in training, for not being associative (estimated on `assoc_fraction` of the
    nodes), for not being commutative (an operator of one's own), and for not leaving x alone when it meets the
    identity; `penalty` has the sum.

    A `BinaryGRU` folds in the `pooled` engine, which keeps little memory and has no second derivative; `autograd` has
    it, and is what any other operator folds in. The associativity penalty is plain autograd in either: on all nodes it
    keeps some ten times what the fold does, on a tenth of them three times.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        project: bool = True,
        *,
        assoc_weight: float = 0.0,
        assoc_fraction: float = 1.0,
        comm_weight: float = 0.0,
        identity_weight: float = 0.0,
        identity: Literal["learned", "zero"] = "learned",
        shuffle: bool = True,
        order: Order = "given",
        num_orders: int = 1,
        op: Operator | None = None,
        allow_unsorted: bool = False,
        engine: Engine = "pooled",
    ) -> None:
        super().__init__()
        same = in_channels == out_channels
        _require(project or same, f"{in_channels} channels come in and {out_channels} go out, so project must be True")
        _require(identity in ("learned", "zero"), f"identity is {identity!r}; it is 'learned' or 'zero'")
        _require(order in ("given", "canonical"), f"order is {order!r}; it is 'given' or 'canonical'")
        _require(engine in ("pooled", "autograd"), f"engine is {engine!r}; it is 'pooled' or 'autograd'")
        _require(num_orders >= 1, f"num_orders is {num_orders}; there is one at least")
        for weight in (assoc_weight, comm_weight, identity_weight):
            _require(0 <= weight < math.inf, f"a penalty's weight is {weight}; it is a number from 0 on, and finite")
        share = 0 < assoc_fraction <= 1
        _require(share, f"assoc_fraction is {assoc_fraction}; it is a share of the nodes, above 0 and at most 1")
        alone = order != "canonical" or num_orders == 1
        _require(alone, f"the canonical order is one but num_orders is {num_orders}; choose either")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.lin = nn.Linear(in_channels, out_channels) if project else None
        self.op = BinaryGRU(out_channels) if op is None else op
        charged = comm_weight and self.op.symmetric
        _require(not charged, f"{type(self.op).__name__} commutes as it stands; leave comm_weight at 0")
        self.identity = nn.Parameter(self.op.identity(out_channels)) if identity == "learned" else None
        self.assoc_weight, self.assoc_fraction = assoc_weight, assoc_fraction
        self.comm_weight, self.identity_weight = comm_weight, identity_weight
        self.shuffle, self.order, self.num_orders = shuffle, order, num_orders
        self.allow_unsorted, self.engine = allow_unsorted, engine
        self._penalty = torch.zeros(())

    def reset_parameters(self) -> None:
        if self.lin is not None:
            self.lin.reset_parameters()
        self.op.reset_parameters()
        if self.identity is not None:
            with torch.no_grad():
                self.identity.copy_(self.op.identity(self.out_channels))

    def __call__(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
        *,
        plan: TreePlan | None = None,
        **kwargs: Any,
    ) -> Tensor:
        if plan is not None and dim_size is None:
            dim_size = len(plan.root)  # PyG would ask the device for it
        return super().__call__(x, index, ptr, dim_size, dim, plan=plan, **kwargs)

    def forward(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
        max_num_elements: int | None = None,
        plan: TreePlan | None = None,
    ) -> Tensor:
        """The segments of x are a sorted `index` [E], or a pointer `ptr` [S + 1], or a `plan` made of either before.

        Rows lie along `dim`. `max_num_elements` is not needed. A plan goes first where both are there, as inside of
        a convolution. Raises ValueError where `index` is not sorted, unless `allow_unsorted`, or names a segment that
        `dim_size` has not, and where the plan is not of these rows.
        """
        self._penalty = x.new_zeros(())
        x = x.movedim(dim, 0)
        heads = x.shape[1:-1]
        x = x.unsqueeze(1).flatten(1, -2)  # [E, H, C_in]
        if plan is None and ptr is None and self.allow_unsorted and index is not None:
            index, by_segment = index.sort(stable=True)
            x = x[by_segment]
        if plan is None:
            plan = self.make_plan(index, ptr, dim_size, rows=len(x))
        _check(plan, len(x), dim_size)
        if self.lin is not None:
            x = self.lin(x).relu()
        out = self._fold(self._ordered(x, plan.segment), plan)  # [S, H, C_out]
        return out.unflatten(1, heads).movedim(0, dim) if heads else out.squeeze(1)

    @staticmethod
    def make_plan(
        index: Tensor | None = None, ptr: Tensor | None = None, dim_size: int | None = None, *, rows: int | None = None
    ) -> TreePlan:
        """To be passed as `plan` as often as the segments are the same: of `ptr` [S + 1] or a sorted `index` [E].

        Raises ValueError as `forward` does. With `ptr` and the number of `rows`, the host waits for the device once.
        """
        if ptr is None:
            if index is None:
                raise ValueError("segments are an index, a ptr or a plan; none of them was given")
            ptr, rows = pointer(index, dim_size), len(index)
        return make_plan(ptr, int(ptr[-1]) if rows is None else rows)

    def train(self, mode: bool = True) -> "LCMAggregation":
        """A charge belongs to the forward before: none is left over when training begins or ends."""
        self._penalty = torch.zeros(())
        return super().train(mode)

    def penalty(self) -> Tensor:
        """What the last forward is charged; zero if it wasn't in training or has no weights."""
        return self._penalty

    def _ordered(self, x: Tensor, segment: Tensor) -> Tensor:
        """Leaves of the trees [E, H * orders, C] from x [E, H, C]."""
        mixing = self.training and self.shuffle
        if self.order == "canonical":
            order = canonical_order(x, segment)
        elif self.num_orders > 1:
            x = x.repeat_interleave(self.num_orders, dim=1)
            fixed = None if mixing else torch.Generator(x.device).manual_seed(0)
            order = random_order(segment, self.num_orders, fixed).repeat(1, x.shape[1] // self.num_orders)
        elif mixing:
            return x[random_order(segment, 1).squeeze(1)]
        else:
            return x
        return x.gather(0, order.unsqueeze(2).expand_as(x))

    def _fold(self, x: Tensor, plan: TreePlan) -> Tensor:
        """Segments [S, H, C] of leaves [E, H * orders, C]."""
        trees = plan.tiled(x.shape[1])
        values, pool = self._meet(x.flatten(0, 1), trees)
        if self.training:
            self._penalty = self._charge(pool, trees)
        heads = x.shape[1] // self.num_orders
        values = values.view(len(plan.root), heads, self.num_orders, self.out_channels).mean(2)
        if self.identity is None:
            return values
        return torch.where((plan.root < 0).view(-1, 1, 1), self.identity, values)

    def _meet(self, x: Tensor, trees: TreePlan) -> tuple[Tensor, Tensor]:
        """What each segment comes to, zero where empty, and the pool."""
        if self.engine == "pooled" and isinstance(self.op, BinaryGRU):
            return pooled_fold(self.op, x, trees)  # type: ignore[arg-type]  # a Parameter is the Tensor it reads
        pool = fold(self.op, x, trees)
        return segment_values(pool, trees), pool

    def _charge(self, pool: Tensor, plan: TreePlan) -> Tensor:
        charges = [pool.new_zeros(())]
        if self.assoc_weight:
            charges.append(self.assoc_weight * associativity_penalty(self.op, pool, plan, self.assoc_fraction))
        if self.comm_weight:
            charges.append(self.comm_weight * commutativity_penalty(self.op, pool, plan))
        if self.identity_weight:
            e = pool.new_zeros(self.out_channels) if self.identity is None else self.identity
            charges.append(self.identity_weight * neutrality_penalty(self.op, pool[: plan.leaves], e))
        return torch.stack(charges).sum()

    def __getstate__(self) -> dict[str, Any]:
        """Without the penalty, which belongs to a step: with its graph no copy of a model could be made."""
        return {**self.__dict__, "_penalty": torch.zeros(())}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.in_channels}, {self.out_channels}, op={type(self.op).__name__})"


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _check(plan: TreePlan, rows: int, dim_size: int | None) -> None:
    if plan.leaves != rows or dim_size not in (None, len(plan.root)):
        raise ValueError(
            f"the plan is of {plan.leaves} rows in {len(plan.root)} segments but x has {rows}"
            + ("" if dim_size is None else f" and dim_size is {dim_size}")
            + "; make it anew of these segments"
        )
