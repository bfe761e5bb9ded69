"""The memory against dense matrices of every step, and against what it must not see."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.link_memory import FEATURES, VOLUME_DECAYS, LinkMemory, random_scores

N = 7


def stream(steps: int, seed: int, *, edges: int = 6) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(N, (2, edges if step % 4 else 0), generator=generator) for step in range(1, steps + 1)]


def dense(steps: list[Tensor]) -> Tensor:
    """[T, N, N], 1 where the pair is there."""
    pictures = torch.zeros(len(steps), N, N, dtype=torch.float64)
    for picture, (source, target) in zip(pictures, steps, strict=True):
        picture[source, target] = 1
    return pictures


def remembered(steps: list[Tensor], **choices: int) -> LinkMemory:
    memory = LinkMemory(N, **choices)
    for step in steps:
        memory.update(step)
    return memory


def decayed(pictures: Tensor, decay: float) -> Tensor:
    age = torch.arange(len(pictures) - 1, -1, -1).double()
    return torch.einsum("t,tuv->uv", decay**age, pictures)


@settings(deadline=None)
@given(steps=st.integers(1, 20), window=st.integers(1, 6), seed=st.integers(0, 99))
def test_each_rule_is_the_one_that_dense_matrices_give(steps: int, window: int, seed: int) -> None:
    past, rows = stream(steps, seed), torch.arange(N)
    memory, pictures = remembered(past, window=window), dense(past)
    recent = pictures[-window:]
    links, ever = recent.sum((0, 2)), pictures.sum((0, 2))
    share = ever.clamp(min=0.5) / ever.max().clamp(min=1)
    torch.testing.assert_close(memory.activity(rows), torch.outer(links, links), rtol=0, atol=0)
    torch.testing.assert_close(memory.repeat(rows), decayed(recent, 0.5), rtol=0, atol=0)
    both = decayed(pictures, 0.5) + 1e-9 * torch.outer(share, share)
    torch.testing.assert_close(memory.repeat_and_activity(rows), both, rtol=0, atol=1e-15)


@settings(deadline=None)
@given(steps=st.integers(1, 20), window=st.integers(1, 6), seed=st.integers(0, 99))
def test_features_are_those_of_dense_matrices(steps: int, window: int, seed: int) -> None:
    past, pairs = stream(steps, seed), torch.cartesian_prod(torch.arange(N), torch.arange(N)).T
    pictures = dense(past)
    found = dict(zip(FEATURES, remembered(past, window=window).features(pairs).T.view(-1, N, N), strict=True))
    links = pictures[-window:].sum((0, 2)).log1p().float()
    seen = [[pictures[:, u, v].nonzero().flatten().tolist() for v in range(N)] for u in range(N)]
    absence = [[min(steps - 1 - each[-1], window) / window if each else 1.0 for each in row] for row in seen]
    torch.testing.assert_close(found["repeat"], decayed(pictures, 0.5).log1p().float())
    torch.testing.assert_close(found["source_activity"], links[:, None].expand(N, N))
    torch.testing.assert_close(found["target_activity"], links.expand(N, N))
    torch.testing.assert_close(found["present"], pictures[-1].float())
    torch.testing.assert_close(found["absence"], torch.tensor(absence))
    ever = pictures.sum((0, 2)).log1p().float()
    torch.testing.assert_close(found["source_links"], ever[:, None].expand(N, N))
    torch.testing.assert_close(found["target_links"], ever.expand(N, N))
    torch.testing.assert_close(found["reciprocal"], (pictures.sum(0) > 0).T.float())


@settings(deadline=None)
@given(steps=st.integers(1, 20), seed=st.integers(0, 99), weighted=st.booleans())
def test_volumes_are_decayed_sums_of_the_logarithms_of_what_passed(steps: int, seed: int, weighted: bool) -> None:
    past, pairs = stream(steps, seed), torch.cartesian_prod(torch.arange(N), torch.arange(N)).T
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.rand(step.shape[1], generator=generator) * 9 if weighted else None for step in past]
    memory, amounts = LinkMemory(N), torch.zeros(steps, N, N, dtype=torch.float64)
    for amount, step, weight in zip(amounts, past, weights, strict=True):
        memory.update(step, weight)
        for place, (source, target) in enumerate(step.T.tolist()):
            amount[source, target] += 1.0 if weight is None else weight[place].double()
    age = torch.arange(steps - 1, -1, -1).double()
    expected = [torch.einsum("t,tuv->uv", decay**age, amounts.log1p()) for decay in VOLUME_DECAYS]
    found = memory.features(pairs)[:, -len(VOLUME_DECAYS) :].T.view(-1, N, N)
    torch.testing.assert_close(found, torch.stack(expected).float())


def test_what_comes_later_changes_nothing_that_was_said_before() -> None:
    past = stream(9, 0)
    memory, pairs, rows = remembered(past[:5]), torch.tensor([[0, 1, 2], [3, 4, 5]]), torch.arange(N)
    before = [memory.features(pairs), *(rule(rows) for rule in memory.rules().values())]
    for later in (past[5:], stream(4, 77, edges=20)):
        again = remembered(past[:5])
        said = [again.features(pairs), *(rule(rows) for rule in again.rules().values())]
        for step in later:
            again.update(step)
        assert all(torch.equal(a, b) for a, b in zip(before, said, strict=True))
        assert not torch.equal(again.features(pairs), before[0])


@pytest.mark.parametrize("rule", ["random", "activity", "repeat", "repeat_and_activity"])
def test_rows_asked_in_blocks_in_any_order_and_twice_are_the_rows_asked_at_once(rule: str) -> None:
    score = remembered(stream(9, 0)).rules(3)[rule]
    whole = score(torch.arange(N))
    for asked in ([4], [6, 0, 2], [3, 3, 1], []):
        rows = torch.tensor(asked, dtype=torch.int64)
        assert torch.equal(score(rows), whole[rows])


def test_a_memory_of_nothing_scores_all_pairs_alike_and_has_never_seen_any() -> None:
    memory, rows = LinkMemory(N), torch.arange(N)
    for name in ("activity", "repeat", "repeat_and_activity"):
        assert len(memory.rules()[name](rows).unique()) == 1
    assert memory.features(torch.tensor([[0], [1]])).tolist() == [[0, 0, 0, 0, 1, *[0] * 6]]


def test_a_link_of_the_last_ten_steps_outranks_any_activity() -> None:
    """Nodes 0 to 2 are busy all along; 3 and 4 met once, ten steps ago."""
    busy = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    memory = remembered([torch.cat([busy, torch.tensor([[3], [4]])], dim=1), *[busy] * 10])
    scores = memory.repeat_and_activity(torch.arange(N))
    assert scores[3, 4] > scores[0, 2] > scores[3, 0] > scores[5, 6] > 0


def test_a_newcomer_looks_for_busy_nodes_first() -> None:
    """Node 6 has never had a link, node 1 the most of all."""
    memory = remembered([torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])] * 2)
    scores = memory.repeat_and_activity(torch.arange(N))
    assert scores[6].argmax() == 1
    assert scores[6, 1] > scores[6, 0] == scores[6, 2] > scores[6, 3] > 0
    assert scores[6, 0] < scores[2, 0]  # and is not as busy as one that had a link


def test_random_scores_are_uniform_and_another_seed_gives_others() -> None:
    rows = torch.arange(300)
    scores = random_scores(rows, 300, 0)
    assert len(scores.unique()) == 300**2
    assert 0 <= scores.min() <= scores.max() < 1
    count = torch.histc(scores, 10, 0, 1)  # 9,000 each, standard deviation 90
    assert bool(((count - 9000).abs() < 500).all())
    both = torch.stack([scores.flatten(), random_scores(rows, 300, 1).flatten(), scores.T.flatten()])
    assert bool(((torch.corrcoef(both) - torch.eye(3)).abs() < 0.02).all())  # six standard deviations


def test_an_id_that_is_no_node_is_refused() -> None:
    with pytest.raises(ValueError, match="nodes 0 to 7 but there are 7"):
        LinkMemory(N).update(torch.tensor([[0], [7]]))


@given(steps=st.integers(0, 20), seed=st.integers(0, 99))
def test_repeat_and_activity_of_pairs_alone_is_that_of_whole_rows_bit_for_bit(steps: int, seed: int) -> None:
    memory, pairs = remembered(stream(steps, seed)), torch.cartesian_prod(torch.arange(N), torch.arange(N)).T
    assert torch.equal(memory.repeat_and_activity_at(pairs).view(N, N), memory.repeat_and_activity(torch.arange(N)))
