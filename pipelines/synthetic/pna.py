"""Three tasks about nodes and three about graphs at once, by one network.

Corso et al., Principal Neighbourhood Aggregation for Graph Nets, NeurIPS 2020, arXiv:2004.05718, section 4. The data
are the same for every seed; a seed decides the weights at the start and the order of the training.
"""

from collections.abc import Callable, Iterator, Sequence

import polars as pl
import torch
from torch import Tensor, nn

from data.pna_multitask import GRAPH_TASKS, NODE_TASKS, TASKS, MultitaskGraphs, SizedGraphs
from data.segments import shuffle_within
from models.multitask_network import MultitaskNetwork
from pipelines.synthetic.aggregators import new_aggregation
from pipelines.synthetic.training import Course, Say, Training, train

ORDERS = 10
AVERAGE = "average"
JUDGED_AT_ONCE = 64  # graphs
Order = Callable[[Tensor], Tensor]  # edges [2, E] by target, to the same in another order within each target


def run(training: Training, data: MultitaskGraphs, *, say: Say = print) -> tuple[pl.DataFrame, Course]:
    """Train and judge. A row a test range and task, the last of them the average: log10 of the mean squared error.

    Beside it are that of always saying the training mean, and the lowest and highest over 10 orders of the
    neighbours on graphs of the training's sizes.
    """
    torch.manual_seed(training.seed)
    network = new_network(training, data.train)
    batches = shuffled_batches(data.train, training.batch_size, training.seed)
    generator = torch.Generator().manual_seed(training.seed)
    course = train(
        network,
        training,
        loss=lambda step: squared_errors(network, next(batches), mixed(generator)).mean(),
        check=lambda: mean_errors(network, data.validation).mean().item(),
        say=say,
    )
    return evaluate(network, data), course


def new_network(training: Training, graphs: Sequence[SizedGraphs]) -> MultitaskNetwork:
    degree = torch.cat([part.adjacency.sum(-1).flatten() for part in graphs])

    def aggregation() -> nn.Module:
        weight = training.assoc_weight
        return new_aggregation(training.aggregation, training.width, assoc_weight=weight, degree=degree)

    tasks = {"node_tasks": len(NODE_TASKS), "graph_tasks": len(GRAPH_TASKS)}
    channels = graphs[0].x.shape[-1]
    return MultitaskNetwork(aggregation(), aggregation(), channels=channels, width=training.width, **tasks)


def shuffled_batches(parts: Sequence[SizedGraphs], batch_size: int, seed: int) -> Iterator[SizedGraphs]:
    """Batches without end, epoch after epoch; each of one size, as the protocol has them."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        batches = [
            (part, chosen)
            for part in parts
            for chosen in torch.randperm(len(part), generator=generator).split(batch_size)
        ]
        for turn in torch.randperm(len(batches), generator=generator).tolist():
            part, chosen = batches[turn]
            yield part.take(chosen)


def as_given(edge_index: Tensor) -> Tensor:
    return edge_index


def mixed(generator: torch.Generator) -> Order:
    return lambda edge_index: edge_index[:, shuffle_within(edge_index[1], generator)]


def squared_errors(network: MultitaskNetwork, graphs: SizedGraphs, order: Order) -> Tensor:
    """The mean over nodes and graphs, one a task [6], TASKS."""
    nodes, whole = network(graphs.x.flatten(0, 1), order(graphs.edge_index), graphs.ptr)
    of_nodes = (nodes - graphs.node_targets.flatten(0, 1)).square().mean(0)
    return torch.cat([of_nodes, (whole - graphs.graph_targets).square().mean(0)])


@torch.no_grad()
def mean_errors(network: MultitaskNetwork, parts: Sequence[SizedGraphs], order: Order = as_given) -> Tensor:
    """[6], every size counting alike, as there are as many graphs of each."""
    return torch.stack([_part_errors(network, part, order) for part in parts]).mean(0)


def _part_errors(network: MultitaskNetwork, part: SizedGraphs, order: Order) -> Tensor:
    chunks = torch.arange(len(part)).split(JUDGED_AT_ONCE)
    sums = [squared_errors(network, part.take(chunk), order).double() * len(chunk) for chunk in chunks]
    return torch.stack(sums).sum(0) / len(part)


def evaluate(network: MultitaskNetwork, data: MultitaskGraphs) -> pl.DataFrame:
    """Other orders are tried on the training's own sizes alone, for the large graphs take as long as all the rest."""
    network.eval()
    own = next(iter(data.test))
    return pl.concat([_judge(network, data, sizes, orders=ORDERS if sizes == own else 0) for sizes in data.test])


def _judge(network: MultitaskNetwork, data: MultitaskGraphs, sizes: str, *, orders: int) -> pl.DataFrame:
    parts, generator = data.test[sizes], torch.Generator().manual_seed(0)
    given = _logs(mean_errors(network, parts))
    others = [_logs(mean_errors(network, parts, mixed(generator))) for _ in range(orders)]
    spread = torch.stack(others) if orders else torch.full((1, len(given)), torch.nan)
    figures = {
        "log10_mse": given,
        "log10_mse_of_mean": _logs(_errors_of_the_mean(parts, data.train_mean())),
        "orders_lowest": spread.amin(0),
        "orders_highest": spread.amax(0),
    }
    names = {"sizes": [sizes] * len(given), "task": [*TASKS, AVERAGE]}
    return pl.DataFrame(names | {name: values.tolist() for name, values in figures.items()})


def _logs(errors: Tensor) -> Tensor:
    """Of each task and then their mean, [7]; the paper averages logarithms, too."""
    logs = errors.log10()
    return torch.cat([logs, logs.mean(0, keepdim=True)])


def _errors_of_the_mean(parts: Sequence[SizedGraphs], train_mean: Tensor) -> Tensor:
    """Squared errors of the training mean as the answer to everything, [6]."""
    nodes, graphs = train_mean.split([len(NODE_TASKS), len(GRAPH_TASKS)])
    errors = [
        torch.cat([(part.node_targets - nodes).square().mean((0, 1)), (part.graph_targets - graphs).square().mean(0)])
        for part in parts
    ]
    return torch.stack(errors).double().mean(0)
