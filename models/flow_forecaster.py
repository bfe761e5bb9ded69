"""Flows between places a horizon ahead: EvolveGCN reads the network of every past step, a perceptron each pair.

The encoder is that of Pareja et al., EvolveGCN, arXiv:1902.10191, with a directed pair of operators; the task and its
head are our own, as that paper stops at classes. In a panel of flows the node is where a flow begins and the variable
is where it leads, so a window holds its own dynamic graph: the weight of an edge is log(1 + flow) of that step.

    rate(u, v, t) = usual(u, v, t) * softplus(s(u, v, t))

`usual` is log-linear in the time of day and week: the mean of the pair in training, times what the calendar makes of
the source, the target and the pair. s is linear in how far the pair's past flows were from the usual, and adds a
perceptron on [h_u ; h_v ; those ; same zone ; distance], read out by the calendar of the target. Untrained, the
factor is 1, and the forecast is the pair's training mean.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.adjacency import dense_directed_adjacency
from models.clock import CYCLIC_WIDTH, cyclic, harmonics
from models.count_likelihood import negative_binomial, poisson, zero_inflated
from models.evolvegcn import EvolveGCN, EvolveGCNSettings
from models.graph import Graph
from models.profile import Profile

Likelihood = Literal["poisson", "negative_binomial", "zero_inflated", "mse"]
SOFTPLUS_ONE = math.log(math.e - 1)  # softplus of it is 1
SECOND_AT_START = {"negative_binomial": 1.0, "zero_inflated": -2.0}  # log concentration, logit of a zero
ZONE_FEATURES = 4 + CYCLIC_WIDTH
MOST_PAIRS = 2**17  # of a forecast that go through the head at once, about 100 MB
LARGEST_LOG = 30.0  # of a usual flow: beyond it exp leaves what a loss can be squared of


@dataclass(frozen=True)
class FlowSettings:
    """`graph` says which network each step of the window has: its own flows, or the training mean, frozen.

    `profile` is the width of the perceptron of the calendar, 0 where a day or a week says nothing.
    """

    variant: Literal["H", "O"] = "H"
    graph: Literal["window", "frozen"] = "window"
    likelihood: Likelihood = "negative_binomial"
    hidden: int = 32
    profile: int = 64


class Usual(nn.Module):
    """The usual course of every flow, as a logarithm: `calendar` [B, T, 3] to [B, T, N, N].

    `level` [N, N] is the logarithm of the training mean; zones and pairs add what the calendar makes of them.
    """

    def __init__(self, profile: int, nodes: int) -> None:
        super().__init__()
        self.register_buffer("level", torch.zeros(nodes, nodes))
        self.zones = Profile(profile, nodes, 2) if profile else None  # as source, as target
        self.pairs = Profile(profile, nodes, nodes) if profile else None

    level: Tensor

    def forward(self, calendar: Tensor) -> Tensor:
        usual = self.level.expand(*calendar.shape[:2], *self.level.shape)
        if self.zones is not None and self.pairs is not None:
            source, target = self.zones(calendar).unbind(-1)  # [B, T, N]
            usual = usual + source[..., None] + target[..., None, :] + self.pairs(calendar)
        return usual.clamp(-LARGEST_LOG, LARGEST_LOG)


class FlowForecaster(nn.Module):
    """A Forecaster of `nodes` x `nodes` flows as they are, unscaled: a likelihood is about counts.

    `learn_from` tells it the training range, `set_distances` how far the zones are apart.
    """

    def __init__(self, settings: FlowSettings, *, window: int, horizon: int, nodes: int) -> None:
        super().__init__()
        self.settings, self.horizon = settings, horizon
        hidden = settings.hidden
        self.register_buffer("frozen", torch.zeros(nodes, nodes))  # log(1 + flow) of the training mean
        self.register_buffer("distance", torch.zeros(nodes, nodes))  # log(1 + km), 0 where it is not known
        self.usual = Usual(settings.profile, nodes)
        evolving = EvolveGCNSettings(settings.variant, remedy="closed_gate", directed=True)
        self.encoder = EvolveGCN(evolving, (ZONE_FEATURES, hidden, hidden), skip=True)
        self.source, self.target = nn.Linear(self.encoder.width, hidden), nn.Linear(self.encoder.width, hidden)
        self.pair = nn.Linear(window + 2, hidden)
        self.inner = nn.Linear(hidden, hidden)
        self.lead = nn.Parameter(torch.zeros(horizon, hidden))
        self.hour = nn.Linear(4 * Profile.ORDERS + 2, hidden)
        self.lags = nn.Linear(window, horizon, bias=False)
        self.second = nn.Linear(hidden, 1) if settings.likelihood in SECOND_AT_START else None
        for part in (self.hour.weight, self.hour.bias, self.lags.weight):
            nn.init.zeros_(part)
        if self.second is not None:
            nn.init.zeros_(self.second.weight)
            nn.init.constant_(self.second.bias, SECOND_AT_START[settings.likelihood])

    frozen: Tensor
    distance: Tensor

    def learn_from(self, values: Tensor, mask: Tensor) -> None:
        """Take levels and frozen graph from the training flows `values`, `mask` [T, N, N].

        A pair without any trip is given half of one, since a logarithm must start somewhere.
        """
        total, count = (values * mask).sum(0), mask.sum(0)
        self.usual.level.copy_(((total + 0.5) / (count + 1)).log())
        self.frozen.copy_((total / count.clamp(min=1)).log1p())

    def set_distances(self, distance_km: Tensor) -> None:
        """Between the zones, [N, N]; NaN where it is not known."""
        self.distance.copy_(distance_km.nan_to_num().log1p())

    def forward(self, x: Tensor, mask: Tensor, calendar: Tensor) -> Tensor:
        """The mean of every flow, [B, H, N, N]."""
        log_rate, second = self.law(x, mask, calendar)
        rate = log_rate.exp()
        if self.settings.likelihood == "zero_inflated" and second is not None:
            return rate * torch.sigmoid(-second)[:, None]
        return rate

    def loss(self, x: Tensor, mask: Tensor, calendar: Tensor, y: Tensor, y_mask: Tensor) -> Tensor:
        """The mean over observed targets of minus their log-likelihood; with `mse`, of the squared error of logs."""
        log_rate, second = self.law(x, mask, calendar)
        each = self._loss_of_each(y.float(), log_rate.float(), None if second is None else second.float()[:, None])
        return (each * y_mask).sum() / y_mask.sum()

    def _loss_of_each(self, y: Tensor, log_rate: Tensor, second: Tensor | None) -> Tensor:
        match self.settings.likelihood:
            case "negative_binomial" if second is not None:
                return -negative_binomial(y, log_rate, second)
            case "zero_inflated" if second is not None:
                return -zero_inflated(y, log_rate, second)
            case "mse":
                return (log_rate.exp().log1p() - y.log1p()) ** 2
            case _:
                return -poisson(y, log_rate)

    def law(self, x: Tensor, mask: Tensor, calendar: Tensor) -> tuple[Tensor, Tensor | None]:
        """The logarithm of every rate [B, H, N, N], and the likelihood's second parameter [B, N, N] if it has one."""
        window = x.shape[1]
        usual = self.usual(calendar)  # [B, W + H, N, N]
        past = usual[:, :window].detach().exp()  # what is usual is no way to learn from surprise
        flows = torch.where(mask, x, past)  # what was not observed was as usual
        surprise = (flows.log1p() - past.log1p()).movedim(1, -1)  # [B, N, N, W]
        h = self._embed(flows, past, calendar[:, :window])  # [B, N, C]
        parts = [self._head(h, surprise, calendar[:, window:], rows) for rows in self._blocks(h)]
        score = torch.cat([score for score, _ in parts], dim=2)  # [B, H, N, N]
        factor = functional.softplus(score + SOFTPLUS_ONE).clamp(min=1e-6)
        second = None if self.second is None else torch.cat([read for _, read in parts if read is not None], dim=1)
        return usual[:, window:] + factor.log(), second

    def _embed(self, flows: Tensor, usual: Tensor, calendar: Tensor) -> Tensor:
        """Of every zone at the last step, from all steps of `flows` and `usual` [B, W, N, N]: [B, N, C]."""
        out, into = (torch.stack([flows.sum(axis), usual.sum(axis)]).log1p() for axis in (3, 2))  # [2, B, W, N]
        zones = torch.stack([out[0], into[0], out[0] - out[1], into[0] - into[1]], dim=-1)
        clock = cyclic(calendar)[:, :, None].expand(-1, -1, zones.shape[2], -1)
        features = torch.cat([zones, clock], dim=-1)  # [B, W, N, D]
        embedded, _ = self.encoder(list(self._graphs(features, flows)))
        return embedded

    def _graphs(self, features: Tensor, flows: Tensor) -> Iterator[Graph]:
        frozen = dense_directed_adjacency(self.frozen[None].to(features.dtype))
        for step in range(features.shape[1]):
            own = self.settings.graph == "window"
            yield Graph(features[:, step], dense_directed_adjacency(flows[:, step].log1p()) if own else frozen)

    def _head(self, h: Tensor, surprise: Tensor, calendar: Tensor, rows: slice) -> tuple[Tensor, Tensor | None]:
        """Score [B, H, R, N] and second parameter [B, R, N] of the pairs whose source is among `rows`."""
        edge = surprise[:, rows]  # [B, R, N, W]
        same = torch.eye(h.shape[1], dtype=h.dtype, device=h.device)[rows]
        fixed = torch.stack([same, self.distance[rows]], dim=-1).expand(len(h), -1, -1, -1)
        z = self.source(h[:, rows])[:, :, None] + self.target(h)[:, None] + self.pair(torch.cat([edge, fixed], dim=-1))
        z = self.inner(z.relu()).relu()  # [B, R, N, K]
        asked = self.lead + self.hour(harmonics(calendar, Profile.ORDERS))  # [B, H, K]
        score = torch.einsum("brnk,bhk->bhrn", z, asked) + self.lags(edge).movedim(-1, 1)
        return score, None if self.second is None else self.second(z)[..., 0]

    def _blocks(self, h: Tensor) -> Iterator[slice]:
        """Rows of sources, so few that memory is bounded where no gradient is kept."""
        batch, nodes, _ = h.shape
        size = max(1, MOST_PAIRS // (batch * nodes))
        return (slice(first, min(first + size, nodes)) for first in range(0, nodes, size))
