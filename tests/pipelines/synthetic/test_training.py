import math

import pytest
import torch
from torch import nn

from pipelines.errors import SpecError, TrainingError
from pipelines.synthetic.training import Training, train


def quiet(line: str) -> None: ...


def weight_of(network: nn.Linear) -> float:
    return network.weight.item()


@pytest.fixture
def line() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(1, 1)


def test_what_is_kept_are_the_weights_of_the_lowest_validation(line):
    """The third check is the lowest; afterwards only the weights go on."""
    seen, told = [], iter([3.0, 2.0, 1.0, 1.0, 4.0])

    def check() -> float:
        seen.append(weight_of(line))
        return next(told)

    training = Training("sum", steps=10, check_every=2, learning_rate=0.1)
    course = train(line, training, loss=lambda step: line.weight.sum(), check=check, say=quiet)
    assert course.best_step == 6
    assert weight_of(line) == seen[2]
    assert len(set(seen)) == 5
    assert course.checks["step"].to_list() == [2, 4, 6, 8, 10]


def test_the_last_steps_are_judged_even_if_no_check_is_due(line):
    training = Training("sum", steps=7, check_every=5)
    course = train(line, training, loss=lambda step: line.weight.sum(), check=lambda: 0.0, say=quiet)
    assert course.checks["step"].to_list() == [5, 7]
    assert course.steps == 7


def test_validation_sees_the_network_in_evaluation_and_a_step_in_training(line):
    modes = []

    def loss(step: int) -> torch.Tensor:
        modes.append(line.training)
        return line.weight.sum()

    def check() -> float:
        modes.append(line.training)
        return 0.0

    train(line, Training("sum", steps=2, check_every=1), loss=loss, check=check, say=quiet)
    assert modes == [True, False, True, False]
    assert not line.training


def test_minutes_end_a_training_by_the_clock(line, monkeypatch):
    clock = iter(range(0, 10_000, 20))  # a look at the clock every 20 s
    monkeypatch.setattr("pipelines.synthetic.training.time.monotonic", lambda: float(next(clock)))
    training = Training("sum", minutes=3, check_every=1000)
    course = train(line, training, loss=lambda step: line.weight.sum(), check=lambda: 0.0, say=quiet)
    assert 3 <= course.steps <= 9
    assert course.checks["step"].to_list() == [course.steps]


def test_a_loss_that_is_no_number_stops_the_training(line):
    with pytest.raises(TrainingError, match="step 1; lower --learning-rate"):
        train(
            line, Training("sum", steps=2), loss=lambda step: line.weight.sum() * math.nan, check=lambda: 0.0, say=quiet
        )


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"aggregation": "median"}, "there are mean, sum, max, pna, gru, lcm, pyg-gru, pyg-lcm"),
        ({"steps": 0}, "--steps is 0"),
        ({"steps": None}, "give one of the two"),
        ({"minutes": 1.0}, "give one of the two"),
        ({"steps": None, "minutes": 0.0}, "--minutes is 0.0"),
        ({"batch_size": 0}, "--batch-size is 0"),
        ({"width": -1}, "--width is -1"),
        ({"learning_rate": math.nan}, "--learning-rate is nan"),
        ({"aggregation": "sum", "assoc_weight": 0.1}, "of lcm alone"),
        ({"assoc_weight": -0.1}, "--assoc-weight is -0.1"),
    ],
)
def test_settings_that_cannot_be_trained_are_refused_by_the_option_s_name(wrong, told):
    with pytest.raises(SpecError, match=told):
        Training(**{"aggregation": "lcm", "steps": 1} | wrong)
