"""Find the second smallest of a set, on sets larger than any in training.

Ong and Veličković, Learnable Commutative Monoids for Graph Neural Networks, LoG 2022, arXiv:2212.08541, section 3.1.
The data are the same for every seed; a seed decides the weights at the start and the order of the training.
"""

from collections.abc import Iterator, Sequence

import polars as pl
import torch
from torch import Tensor
from torch.nn import functional

from data.second_minimum import BITS, SMALLEST, Multisets, bits_of, draw_multisets, numbers_of, second_smallest
from models.set_network import SetNetwork
from pipelines.errors import SpecError
from pipelines.synthetic.aggregators import new_aggregation
from pipelines.synthetic.training import Course, Say, Training, train

TRAIN_SETS, JUDGED_SETS = 65_536, 1_024
LARGEST, VALIDATION_SIZE = 16, 32
SIZES = (2, 4, 8, 16, 32, 64, 128, 200)
ORDERS = 10
JUDGED_AT_ONCE = 128  # sets


def run(
    training: Training, *, sizes: Sequence[int] = SIZES, train_sets: int = TRAIN_SETS, say: Say = print
) -> tuple[pl.DataFrame, Course]:
    """Train and judge. A row a size: accuracy in the order as drawn, and mean, lowest and highest over 10 others."""
    check_sizes(sizes)
    torch.manual_seed(training.seed)
    sets = draw_multisets(train_sets, smallest=SMALLEST, largest=LARGEST, seed=1)
    validation = draw_multisets(JUDGED_SETS, smallest=VALIDATION_SIZE, largest=VALIDATION_SIZE, seed=2)
    network = new_network(training, sets)
    batches = shuffled_batches(sets, training.batch_size, training.seed)
    course = train(
        network,
        training,
        loss=lambda step: loss_of(network, next(batches)),
        check=lambda: 1 - accuracy(network, validation),
        say=say,
    )
    return evaluate(network, sizes), course


def check_sizes(sizes: Sequence[int]) -> None:
    """Raises SpecError."""
    for size in sizes:
        if size < SMALLEST:
            raise SpecError(f"--size is {size}; a second smallest needs sets of {SMALLEST} or more")


def new_network(training: Training, sets: Multisets) -> SetNetwork:
    weight = training.assoc_weight
    aggregation = new_aggregation(training.aggregation, training.width, assoc_weight=weight, degree=sets.ptr.diff())
    return SetNetwork(aggregation, bits=BITS, width=training.width)


def shuffled_batches(sets: Multisets, batch_size: int, seed: int) -> Iterator[Multisets]:
    """Batches without end, epoch after epoch; the sets, and the numbers in each, in an ever new order."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        for chosen in torch.randperm(len(sets), generator=generator).split(batch_size):
            yield sets.take(chosen).shuffled(generator)


def loss_of(network: SetNetwork, sets: Multisets) -> Tensor:
    """The mean cross-entropy of the answers' bits."""
    logits = network(bits_of(sets.values), sets.index, len(sets))  # [S, 8]
    return functional.binary_cross_entropy_with_logits(logits, bits_of(second_smallest(sets)))


@torch.no_grad()
def accuracy(network: SetNetwork, sets: Multisets) -> float:
    """The share of sets of whose answer all bits are right."""
    right = 0
    for chosen in torch.arange(len(sets)).split(JUDGED_AT_ONCE):
        part = sets.take(chosen)
        answers = numbers_of(network(bits_of(part.values), part.index, len(part)).sigmoid())
        right += int((answers == second_smallest(part)).sum())
    return right / len(sets)


def evaluate(network: SetNetwork, sizes: Sequence[int]) -> pl.DataFrame:
    network.eval()
    return pl.DataFrame([_judge(network, size) for size in sizes])


def _judge(network: SetNetwork, size: int) -> dict[str, float]:
    sets = draw_multisets(JUDGED_SETS, smallest=size, largest=size, seed=1000 + size)
    generator = torch.Generator().manual_seed(size)
    others = [accuracy(network, sets.shuffled(generator)) for _ in range(ORDERS)]
    return {
        "size": size,
        "accuracy": accuracy(network, sets),
        "orders_mean": sum(others) / ORDERS,
        "orders_lowest": min(others),
        "orders_highest": max(others),
    }
