"""EvolveGCN against a dense reference written out in loops, laws of its own, and torch's cells."""

import copy
import math
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise, product

import pytest
import torch
from torch import Tensor, nn

from models.adjacency import Adjacency, Operator, directed_adjacency, symmetric_adjacency
from models.evolvegcn import EvolveGCN, EvolveGCNCell, EvolveGCNSettings, State, Summary, detach_state, watched_norms
from models.graph import Graph, stack_graphs
from models.matrix_recurrence import MatrixGRU, MatrixLSTM, WeightState

EXACT = {"atol": 1e-12, "rtol": 0}
D, HIDDEN, OUT, T = 5, 4, 3, 4  # all differ, so that a transposed product shows
WIDTHS = [D, HIDDEN, OUT]
KINDS = list(product("HO", ("gru", "lstm")))
SETTINGS = [EvolveGCNSettings(variant, rnn) for variant, rnn in KINDS]
EGCN_H, EGCN_O = EvolveGCNSettings("H"), EvolveGCNSettings("O")
each_kind = pytest.mark.parametrize("settings", SETTINGS, ids=lambda each: f"{each.variant}-{each.rnn}")


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def model_of(settings: EvolveGCNSettings, widths: Sequence[int] = WIDTHS, **options: object) -> EvolveGCN:
    """With biases that are not zero, so that a lost one shows."""
    model = EvolveGCN(settings, widths, **options)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.uniform_(-0.5, 0.5)
    return model.eval()


def edges_of(nodes: int, edges: int) -> tuple[Tensor, Tensor]:
    """Weighted, with duplicates and self-loops; the last node is isolated. Not symmetric."""
    if nodes < 2:
        return torch.zeros(2, 0, dtype=torch.long), torch.zeros(0)
    return torch.randint(nodes - 1, (2, edges)), torch.rand(edges)


def graph_of(nodes: int = 9, edges: int = 14, *, active: Tensor | None = None, directed: bool = False) -> Graph:
    edge_index, weight = edges_of(nodes, edges)
    if directed:
        return Graph(torch.randn(nodes, D), directed_adjacency(edge_index, weight, nodes=nodes), active)
    both = torch.cat([edge_index, edge_index.flip(0)], dim=1)
    return Graph(torch.randn(nodes, D), symmetric_adjacency(both, weight.repeat(2), nodes=nodes), active)


def window(steps: int = T, **options: object) -> list[Graph]:
    """Another number of nodes at every step."""
    return [graph_of(8 + step, **options) for step in range(steps)]


def dense(graph: Graph) -> Tensor:
    return graph.adjacency.operators[0].matrix.to_dense()


def adjacency_of(matrix: Tensor) -> Adjacency:
    """As it is, without a norm."""
    row, column = matrix.nonzero().T
    starts = torch.searchsorted(row, torch.arange(len(matrix) + 1))
    sparse = torch.sparse_csr_tensor(starts, column, matrix[row, column], matrix.shape, check_invariants=True)
    return Adjacency((Operator(sparse, sparse),))


def with_x(graph: Graph, x: Tensor) -> Graph:
    return replace(graph, x=x)


# ---------------------------------------------------------------- a second way


def reference(model: EvolveGCN, graphs: Sequence[Graph]) -> tuple[list[Tensor], list[list[Tensor]]]:
    """Embeddings and first operators' weights of every step: time-major, a column at a time, dense matrices."""
    settings, every, history = model.settings, [], []
    states = [[(unit.initial, torch.zeros_like(unit.initial)) for unit in layer.weights] for layer in model.layers]
    for graph in graphs:
        h = graph.x
        for layer, state in zip(model.layers, states, strict=True):
            total = torch.zeros(len(h), layer.shape[1]) if layer.root is None else h @ layer.root
            for place, (unit, operator) in enumerate(zip(layer.weights, graph.adjacency.operators, strict=True)):
                weight, context = state[place]
                read = weight if settings.variant == "O" else reference_summary(unit.summary, h, graph.active)
                state[place] = reference_cell(settings.rnn, unit.cell, read, weight, context)
                total = total + operator.matrix.to_dense() @ h @ state[place][0]
            h = torch.where(total > 0, total, total * 11 / 48)
        every.append(torch.cat([h, graph.x], dim=1) if model.skip else h)
        history.append([state[0][0] for state in states])
    return every, history


def reference_summary(summary: Summary, h: Tensor, active: Tensor | None) -> Tensor:
    length = math.sqrt(sum(each.item() ** 2 for each in summary.p))
    scored = []
    for node, row in enumerate(h):
        if active is None or active[node]:
            scored.append(((row * summary.p).sum().item() / length, node))
    order = [node for _, node in sorted(scored, reverse=True)][: summary.k]
    if not order:
        return torch.zeros(h.shape[1], summary.k)
    order += [order[-1]] * (summary.k - len(order))
    columns = [h[node] * torch.tanh((h[node] * summary.p).sum() / summary.p.square().sum().sqrt()) for node in order]
    return torch.stack(columns, dim=1)


def reference_cell(rnn: str, cell: nn.Module, read: Tensor, weight: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    new, kept = [], []
    for j in range(weight.shape[1]):
        s, w, c = read[:, j], weight[:, j], context[:, j]

        def gate(g: int, state: Tensor = w, s: Tensor = s, j: int = j) -> Tensor:
            return cell.input[g] @ s + cell.recurrent[g] @ state + cell.bias[g][:, j]

        if rnn == "gru":
            z, q = gate(0).sigmoid(), gate(1).sigmoid()
            new.append((1 - z) * w + z * gate(2, q * w).tanh())
        else:
            c = gate(0).sigmoid() * c + gate(1).sigmoid() * gate(3).tanh()
            new.append(gate(2).sigmoid() * c.tanh())
        kept.append(c)
    return torch.stack(new, dim=1), torch.stack(kept, dim=1)


@each_kind
@pytest.mark.parametrize("form", ["plain", "root", "skip", "directed"])
def test_the_model_equals_the_dense_loops(settings: EvolveGCNSettings, form: str) -> None:
    settings = replace(settings, root=form == "root", directed=form == "directed")
    model = model_of(settings, skip=form == "skip")
    graphs = window(directed=form == "directed")
    graphs[1] = replace(graphs[1], active=torch.rand(9) > 0.4)
    graphs[2] = replace(graphs[2], active=torch.zeros(10, dtype=torch.bool))
    expected, _ = reference(model, graphs)
    last, _ = model(graphs)
    steps, _ = model.every_step(graphs)
    assert last.shape[-1] == model.width
    torch.testing.assert_close(last, expected[-1], atol=1e-10, rtol=0)
    for found, known in zip(steps, expected, strict=True):
        torch.testing.assert_close(found, known, atol=1e-10, rtol=0)


@each_kind
def test_single_precision_stays_near_the_dense_loops(settings: EvolveGCNSettings) -> None:
    model, graphs = model_of(settings), window()
    expected, _ = reference(model, graphs)
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    single = model_of(settings)
    single.load_state_dict(model.state_dict())
    narrow = [Graph(graph.x.float(), adjacency_of(dense(graph).float())) for graph in graphs]
    torch.testing.assert_close(single(narrow)[0], expected[-1].float(), atol=1e-5, rtol=0)


def test_the_toy_of_three_nodes_comes_out_by_hand() -> None:
    """All gates the identity, no bias: every entry of W goes its own way."""
    model = EvolveGCN(EGCN_O, [2, 2], activation=nn.Identity())
    unit = model.layers[0].weights[0]
    with torch.no_grad():
        unit.cell.input.copy_(torch.eye(2).expand(3, 2, 2))
        unit.cell.recurrent.copy_(torch.eye(2).expand(3, 2, 2))
        unit.initial.copy_(torch.tensor([[0.5, 0.0], [0.0, -1.0]]))
    path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    x = torch.tensor([[1.0, 0], [0, 1], [1, 1]])
    found, _ = model([Graph(x, symmetric_adjacency(path, nodes=3))])

    def step(w: float) -> float:
        gate = 1 / (1 + math.exp(-2 * w))
        return (1 - gate) * w + gate * math.tanh(w + gate * w)

    s = 6**-0.5  # degrees 2, 3, 2
    norm = torch.tensor([[1 / 2, s, 0], [s, 1 / 3, s], [0, s, 1 / 2]])
    expected = norm @ x @ torch.tensor([[step(0.5), 0], [0, step(-1.0)]])
    torch.testing.assert_close(found, expected, **EXACT)


# ---------------------------------------------------------------- nodes that come and go


@each_kind
def test_relabelling_each_snapshot_only_relabels_the_last_output(settings: EvolveGCNSettings) -> None:
    model, graphs = model_of(settings), window()
    out, state = model(graphs)
    orders = [torch.randperm(len(graph.x)) for graph in graphs]
    moved = []
    for graph, order in zip(graphs, orders, strict=True):
        moved.append(Graph(graph.x[order], adjacency_of(dense(graph)[order][:, order])))
    again, state_again = model(moved)
    torch.testing.assert_close(again, out[orders[-1]], **EXACT)
    for one, other in zip(weights_of(state), weights_of(state_again), strict=True):
        torch.testing.assert_close(one, other, **EXACT)


def weights_of(state: State) -> list[Tensor]:
    return [each.weight for layer in state for each in layer]


@each_kind
@pytest.mark.parametrize("directed", [False, True])
def test_empty_tiny_and_inactive_snapshots_give_finite_outputs(settings: EvolveGCNSettings, directed: bool) -> None:
    model = model_of(replace(settings, directed=directed))
    sizes = [(9, 14), (1, 0), (0, 0), (2, 3), (9, 0)]
    graphs = [graph_of(nodes, edges, directed=directed) for nodes, edges in sizes]
    graphs.insert(1, graph_of(9, active=torch.zeros(9, dtype=torch.bool), directed=directed))
    outputs, _ = model.every_step(graphs)
    for graph, output in zip(graphs, outputs, strict=True):
        assert output.shape == (len(graph.x), OUT)
        assert output.isfinite().all()
    for end in range(1, len(graphs) + 1):
        last = model(graphs[:end])[0]
        torch.testing.assert_close(last, outputs[end - 1], **EXACT)
        model.zero_grad()
        last.sum().backward()
        assert all(each.grad is None or each.grad.isfinite().all() for each in model.parameters())


def test_fewer_nodes_than_columns_repeat_the_lowest() -> None:
    summary, h = Summary(D, 6), torch.randn(4, D)
    few, active = summary(h, None), torch.tensor([True, False, True, True])
    assert torch.equal(few[:, 3], few[:, 4])
    assert torch.equal(few[:, 3], few[:, 5])
    torch.testing.assert_close(few, reference_summary(summary, h, None), **EXACT)
    torch.testing.assert_close(summary(h, active), reference_summary(summary, h, active), **EXACT)
    assert not summary(h, torch.zeros(4, dtype=torch.bool)).any()


@each_kind
def test_isolated_inactive_rows_change_nothing(settings: EvolveGCNSettings) -> None:
    model, graphs = model_of(settings), window()
    padded = []
    for graph in graphs:
        nodes = len(graph.x)
        x = torch.cat([graph.x, 100 * torch.randn(5, D)])
        wider = adjacency_of(torch.block_diag(dense(graph), torch.eye(5)))
        padded.append(Graph(x, wider, torch.arange(nodes + 5) < nodes))
    torch.testing.assert_close(model(padded)[0][:-5], model(graphs)[0], **EXACT)


# ---------------------------------------------------------------- state


@each_kind
def test_nothing_leaks_from_one_sequence_into_another(settings: EvolveGCNSettings) -> None:
    model, first, second = model_of(settings), window(), window()
    expected, other = model(first)[0], model(second)[0]
    assert torch.equal(model(first)[0], expected)
    assert torch.equal(model(second)[0], other)
    a = b = None
    for one, two in zip(first, second, strict=True):
        x, a = model([one], a, policy="carry")
        y, b = model([two], b, policy="carry")
    assert torch.equal(x, expected)
    assert torch.equal(y, other)


@each_kind
def test_a_used_model_can_be_saved_copied_and_run_backwards_twice(settings: EvolveGCNSettings) -> None:
    model, graphs = model_of(settings), window()
    expected = model(graphs)[0]
    expected.sum().backward()
    model(graphs)[0].sum().backward()
    fresh = EvolveGCN(settings, WIDTHS).eval()
    fresh.load_state_dict(model.state_dict())
    for again in (fresh, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(again(graphs)[0], expected)
    assert not list(model.buffers())


@each_kind
@pytest.mark.parametrize("policy", ["carry", "stream"])
def test_carrying_on_equals_one_long_window(settings: EvolveGCNSettings, policy: str) -> None:
    model, graphs = model_of(settings), window(6)
    whole, end = model(graphs)
    for cut in range(1, 6):
        _, state = model(graphs[:cut], policy=policy)
        rest, state = model(graphs[cut:], state, policy=policy)
        torch.testing.assert_close(rest, whole, **EXACT)
        for one, other in zip(weights_of(end), weights_of(state), strict=True):
            torch.testing.assert_close(one, other, **EXACT)


@each_kind
def test_gradients_stop_where_a_window_was_carried_on(settings: EvolveGCNSettings) -> None:
    model, graphs = model_of(settings), window()
    _, state = model(graphs, policy="carry")
    out, _ = model(graphs, state, policy="carry")
    initial = [unit.initial for layer in model.layers for unit in layer.weights]
    assert torch.autograd.grad(out.sum(), initial, allow_unused=True) == (None, None)
    streamed, after = model(graphs, state, policy="stream")
    assert torch.equal(streamed, out)
    assert not streamed.requires_grad
    assert not any(each.requires_grad for each in weights_of(after))
    assert any(each.requires_grad for each in weights_of(state))
    assert not any(each.requires_grad for each in weights_of(detach_state(state)))


# ---------------------------------------------------------------- what depends on what


def test_the_weights_of_o_never_see_the_data() -> None:
    for rnn in ("gru", "lstm"):
        model = model_of(EvolveGCNSettings("O", rnn))
        graphs, others = window(), window()
        for one, other in zip(weights_of(model(graphs)[1]), weights_of(model(others)[1]), strict=True):
            assert torch.equal(one, other)
        assert torch.equal(model(others[:-1] + graphs[-1:])[0], model(graphs)[0])
        assert not torch.allclose(model(graphs[1:])[0], model(graphs)[0])


def test_h_reads_the_selected_nodes_of_the_past_and_no_others() -> None:
    for rnn in ("gru", "lstm"):
        model, graphs = model_of(EvolveGCNSettings("H", rnn), [D, OUT]), window()
        expected = model(graphs)[0]
        scores = model.layers[0].weights[0].summary.scores(graphs[1].x)
        order = scores.argsort(descending=True)
        x = graphs[1].x.clone()
        x[order[OUT + 1 :]] = x[order[-1]].clone()  # the lowest row, so that none of them rises
        unread = [graphs[0], with_x(graphs[1], x), *graphs[2:]]
        assert not torch.equal(x, graphs[1].x)
        assert torch.equal(model(unread)[0], expected)
        x = graphs[1].x.clone()
        x[order[0]] *= 1.01
        read = [graphs[0], with_x(graphs[1], x), *graphs[2:]]
        assert not torch.equal(model(read)[0], expected)


def test_o_reaches_no_further_than_its_layers() -> None:
    ring = torch.stack([torch.arange(12), (torch.arange(12) + 1) % 12])
    adjacency = symmetric_adjacency(torch.cat([ring, ring.flip(0)], dim=1), nodes=12)
    model, x = model_of(EGCN_O), torch.randn(12, D)
    moved = x.clone()
    moved[5] += 1
    before, after = (model([Graph(each, adjacency)])[0] for each in (x, moved))
    changed = (before != after).any(dim=1).nonzero().flatten().tolist()
    assert changed == [3, 4, 5, 6, 7]


@each_kind
def test_later_snapshots_change_no_earlier_embedding(settings: EvolveGCNSettings) -> None:
    model, graphs = model_of(settings), window(5)
    steps, _ = model.every_step(graphs)
    altered, _ = model.every_step(graphs[:3] + [graph_of(20), graph_of(2, 2)])
    for step in range(3):
        assert torch.equal(altered[step], steps[step])
        torch.testing.assert_close(model(graphs[: step + 1])[0], steps[step], **EXACT)


# ---------------------------------------------------------------- gradients


@each_kind
def test_a_gradient_reaches_every_parameter_and_every_weight_on_the_way(settings: EvolveGCNSettings) -> None:
    model, graphs = model_of(replace(settings, root=True)), window()
    seen: list[Tensor] = []

    def keep(_: nn.Module, __: object, state: WeightState) -> None:
        state.weight.retain_grad()
        seen.append(state.weight)

    for layer in model.layers:
        layer.weights[0].register_forward_hook(keep)
    model(graphs)[0].square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.flatten(1).any(dim=1).all() if parameter.dim() == 3 else parameter.grad.any(), name
    assert len(seen) == 2 * T
    assert all(weight.grad is not None and weight.grad.any() for weight in seen)


@each_kind
@pytest.mark.parametrize("remedy", ["none", "residual", "keep_norm"])
def test_gradients_are_those_of_finite_differences(settings: EvolveGCNSettings, remedy: str) -> None:
    model = model_of(replace(settings, remedy=remedy), [3, 2, 2])
    graphs = [with_x(graph, graph.x[:, :3].contiguous()) for graph in window(2)]
    names = list(dict(model.named_parameters()))

    def run(*values: Tensor) -> Tensor:
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (graphs,))[0]

    values = [each.detach().clone().requires_grad_() for each in model.parameters()]
    assert torch.autograd.gradcheck(run, values, atol=1e-6)


def test_the_length_of_the_scorer_means_nothing() -> None:
    model, graphs = model_of(EGCN_H), window()
    out = model(graphs)[0]
    out.square().sum().backward()
    for layer in model.layers:
        p = layer.weights[0].summary.p
        assert abs((p * p.grad).sum()) < 1e-12
        assert p.grad.any()
        with torch.no_grad():
            p.mul_(7.3)
    torch.testing.assert_close(model(graphs)[0], out, **EXACT)


@each_kind
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_time_major_and_layer_major_and_the_lazy_path_agree(settings: EvolveGCNSettings, layers: int) -> None:
    model, graphs = model_of(settings, [D, HIDDEN, OUT, 2][: layers + 1]), window()
    slopes = []
    for run in (lambda: model(graphs)[0], lambda: model.every_step(graphs)[0][-1], lambda: time_major(model, graphs)):
        model.zero_grad()
        out = run()
        out.square().sum().backward()
        slopes.append([out, *(each.grad.clone() for each in model.parameters())])
    for other in slopes[1:]:
        for one, two in zip(slopes[0], other, strict=True):
            torch.testing.assert_close(one, two, **EXACT)


def time_major(model: EvolveGCN, graphs: Sequence[Graph]) -> Tensor:
    states = list(model.initial_state())
    for graph in graphs:
        h = graph.x
        for place, layer in enumerate(model.layers):
            h, states[place] = layer(with_x(graph, h), states[place])
    return h


def test_the_lazy_path_leaves_convolutions_out(monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    convolve = EvolveGCNCell.convolve
    monkeypatch.setattr(EvolveGCNCell, "convolve", lambda self, *given: (done.append(self), convolve(self, *given))[1])
    for settings, lazy in ((EGCN_H, T + 1), (EGCN_O, 2)):
        model, graphs = model_of(settings), window()
        for run, count in ((model, lazy), (model.every_step, 2 * T)):
            done.clear()
            run(graphs)
            assert len(done) == count


# ---------------------------------------------------------------- the cells


def test_weights_stay_within_their_bounds() -> None:
    for variant, rnn in KINDS:
        cell = EvolveGCNCell(EvolveGCNSettings(variant, rnn), D, OUT)
        with torch.no_grad():
            for parameter in cell.parameters():
                parameter.mul_(5)
        state = cell.initial_state()
        for graph in window(6):
            before = state[0].weight.abs().max()
            _, state = cell(graph, state)
            after = state[0].weight.abs().max()
            assert after < 1 if rnn == "lstm" else after <= max(1, before)


def random_cell(kind: type, rows: int = D, columns: int = OUT) -> nn.Module:
    cell = kind(rows, columns)
    nn.init.uniform_(cell.bias, -1, 1)
    return cell


def with_equal_columns(cell: nn.Module) -> nn.Module:
    with torch.no_grad():
        cell.bias.copy_(cell.bias[:, :, :1].expand_as(cell.bias))
    return cell


def torch_twin(cell: nn.Module, kind: type, order: list[int], signs: list[int]) -> nn.Module:
    """torch's cell with the same gates in its order; columns are its batch."""
    twin = kind(D, D)
    with torch.no_grad():
        for name, matrices in (
            ("weight_ih", cell.input),
            ("weight_hh", cell.recurrent),
            ("bias_ih", cell.bias[:, :, 0]),
        ):
            pieces = [sign * matrices[gate] for gate, sign in zip(order, signs, strict=True)]
            getattr(twin, name).copy_(torch.cat(pieces))
        twin.bias_hh.zero_()
    return twin


def test_the_matrix_lstm_is_torch_s_on_every_column_where_the_bias_columns_are_equal() -> None:
    cell = with_equal_columns(random_cell(MatrixLSTM))
    twin = torch_twin(cell, nn.LSTMCell, [1, 0, 3, 2], [1, 1, 1, 1])  # torch: input, forget, candidate, output
    read, weight, context = (torch.randn(D, OUT) for _ in range(3))
    found = cell(read, WeightState(weight, context))
    h, c = twin(read.T, (weight.T, context.T))
    torch.testing.assert_close(found.weight, h.T, atol=1e-10, rtol=0)
    torch.testing.assert_close(found.context, c.T, atol=1e-10, rtol=0)


def test_the_matrix_gru_is_torch_s_only_with_an_open_reset_gate_and_the_update_turned_round() -> None:
    cell = with_equal_columns(random_cell(MatrixGRU))
    read, weight = torch.randn(D, OUT), torch.randn(D, OUT)

    def twin_of() -> Tensor:
        twin = torch_twin(cell, nn.GRUCell, [1, 0, 2], [1, -1, 1])  # sigmoid(-a) = 1 - sigmoid(a)
        return twin(read.T, weight.T).T

    assert (cell(read, WeightState(weight)).weight - twin_of()).abs().max() > 1e-3
    with torch.no_grad():
        cell.bias[1] = 1e4  # q = 1
    torch.testing.assert_close(cell(read, WeightState(weight)).weight, twin_of(), atol=1e-10, rtol=0)
    with torch.no_grad():
        cell.bias[0] += torch.arange(OUT)  # columns that differ
    assert (cell(read, WeightState(weight)).weight - twin_of()).abs().max() > 1e-3


@pytest.mark.parametrize("kind", [MatrixGRU, MatrixLSTM])
def test_folding_the_matrices_of_o_changes_nothing(kind: type) -> None:
    """Where the weight is the input too; the GRU's candidate has no such fold."""
    cell, weight = random_cell(kind), torch.randn(D, OUT)
    context = torch.randn(D, OUT) if kind is MatrixLSTM else None
    plain, implied = cell(weight, WeightState(weight, context)), cell(None, WeightState(weight, context))
    merged = copy.deepcopy(cell)
    gates = slice(0, 2) if kind is MatrixGRU else slice(0, 4)
    with torch.no_grad():
        merged.recurrent[gates] += merged.input[gates]
        merged.input[gates] = 0
    folded = merged(weight, WeightState(weight, context))
    torch.testing.assert_close(implied.weight, plain.weight, **EXACT)
    torch.testing.assert_close(folded.weight, plain.weight, **EXACT)


# ---------------------------------------------------------------- variants


def test_a_random_leaky_relu_is_random_in_training_alone() -> None:
    graphs = window()
    model = model_of(EGCN_H, activation=nn.RReLU())
    assert torch.equal(model(graphs)[0], model(graphs)[0])
    steady = model_of(EGCN_H)
    steady.load_state_dict(model.state_dict())
    torch.testing.assert_close(model(graphs)[0], steady(graphs)[0], **EXACT)
    model.train()
    assert not torch.equal(model(graphs)[0], model(graphs)[0])


def count(settings: EvolveGCNSettings, widths: Sequence[int]) -> int:
    return sum(parameter.numel() for parameter in EvolveGCN(settings, widths).parameters())


RELEASED = {(64, 64, 64): 82_048, (100, 50, 50): 105_150, (162, 50, 50): 215_076}
RELEASED |= {(166, 76, 76): 273_802, (166, 256, 256): 991_102}


@pytest.mark.parametrize(("widths", "released"), RELEASED.items())
def test_the_parameters_are_as_many_as_in_the_released_code(widths: tuple[int, ...], released: int) -> None:
    """The released -O has a scorer of r numbers in every layer that nothing reads; ours has none."""
    pairs = list(pairwise(widths))
    assert count(EGCN_H, widths) == released == sum(6 * r * r + 4 * r * c + r for r, c in pairs)
    assert count(EGCN_O, widths) == released - sum(r for r, _ in pairs) == sum(6 * r * r + 4 * r * c for r, c in pairs)
    assert count(EvolveGCNSettings("O", "lstm"), widths) == sum(8 * r * r + 5 * r * c for r, c in pairs)


def test_root_and_direction_add_their_parameters() -> None:
    pairs = list(pairwise(WIDTHS))
    assert count(replace(EGCN_H, root=True), WIDTHS) == count(EGCN_H, WIDTHS) + sum(r * c for r, c in pairs)
    assert count(replace(EGCN_H, directed=True), WIDTHS) == 2 * count(EGCN_H, WIDTHS)


def test_the_released_start_shrinks_the_weights_and_every_remedy_holds_them() -> None:
    """Spec figures at 64 x 64: a spread of 0.071 falls to 0.013 after 5 steps and 0.003 after 11."""
    graphs = [graph_of(9)] * 11

    def spread(remedy: str, rnn: str = "gru") -> tuple[float, float]:
        model = EvolveGCN(EvolveGCNSettings("O", rnn, remedy), [64, 64])
        wide = [Graph(torch.randn(9, 64), graph.adjacency) for graph in graphs]
        first = model.layers[0].weights[0].initial.std().item()
        return first, model(wide)[1][0][0].weight.std().item()

    first, last = spread("none")
    assert first == pytest.approx(0.071, rel=0.05)
    assert last == pytest.approx(0.003, rel=0.3)
    for remedy, rnn in (("closed_gate", "gru"), ("residual", "gru"), ("residual", "lstm"), ("keep_norm", "lstm")):
        first, held = spread(remedy, rnn)
        assert held > (5 if remedy == "closed_gate" else 15) * last, remedy
    assert spread("keep_norm")[1] == pytest.approx(spread("keep_norm")[0], rel=0.05)


def test_a_kept_norm_is_that_of_the_first_weight() -> None:
    for variant, rnn in KINDS:
        model = model_of(EvolveGCNSettings(variant, rnn, "keep_norm"))
        for layer, state in zip(model.layers, model(window())[1], strict=True):
            torch.testing.assert_close(state[0].weight.norm(), layer.weights[0].initial.norm(), **EXACT)


# ---------------------------------------------------------------- batches


@each_kind
@pytest.mark.parametrize("directed", [False, True])
def test_a_batch_of_sequences_equals_single_runs(settings: EvolveGCNSettings, directed: bool) -> None:
    model = model_of(replace(settings, directed=directed))
    sequences = [[graph_of(nodes, directed=directed) for nodes in sizes] for sizes in ((9, 3, 7), (2, 8, 4), (5, 5, 1))]
    batch = [stack_graphs(step) for step in zip(*sequences, strict=True)]
    out, state = model(batch)
    expected_shape = (3, D, HIDDEN) if settings.variant == "H" else (D, HIDDEN)
    assert state[0][0].weight.shape == expected_shape
    for place, graphs in enumerate(sequences):
        single, _ = model(graphs)
        torch.testing.assert_close(out[place, : len(single)], single, atol=1e-10, rtol=0)
    further, _ = model(batch, state, policy="carry")
    for place, graphs in enumerate(sequences):
        single, _ = model([*graphs, *graphs])
        torch.testing.assert_close(further[place, : len(single)], single, atol=1e-10, rtol=0)


@each_kind
def test_gradients_per_window_from_vmap_equal_a_loop(settings: EvolveGCNSettings) -> None:
    model, graphs = model_of(settings), [graph_of(9) for _ in range(3)]
    x = torch.randn(4, 3, 9, D)  # [B, T, N, D]
    parameters = {name: each.detach() for name, each in model.named_parameters()}

    def loss(values: dict[str, Tensor], features: Tensor) -> Tensor:
        steps = [replace(graph, x=each, check=False) for graph, each in zip(graphs, features, strict=True)]
        return torch.func.functional_call(model, values, (steps,))[0].square().sum()

    mapped = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    for place in range(4):
        single = torch.func.grad(loss)(parameters, x[place])
        for name, each in single.items():
            torch.testing.assert_close(mapped[name][place], each, atol=1e-10, rtol=1e-10)


# ---------------------------------------------------------------- learning


def train_on_the_first_step(settings: EvolveGCNSettings) -> float:
    """Accuracy on new windows whose class is the sign of the first snapshot's mean feature; later ones are noise."""
    torch.manual_seed(1)
    graph, model, head = graph_of(8, 12), EvolveGCN(settings, [D, 6, 6]), nn.Linear(6, 2)
    optimizer = torch.optim.Adam([*model.parameters(), *head.parameters()], lr=0.01)
    adjacency = graph.adjacency

    def sample(size: int) -> tuple[list[Graph], Tensor]:
        label = torch.randint(2, (size,))
        x = torch.randn(3, size, 8, D)
        x[0, :, :, 0] += (2 * label - 1).unsqueeze(1) * 2
        return [Graph(each, adjacency) for each in x], label

    for _ in range(150):
        graphs, label = sample(32)
        loss = nn.functional.cross_entropy(head(model(graphs)[0].mean(-2)), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    graphs, label = sample(1000)
    with torch.no_grad():
        return (head(model(graphs)[0].mean(-2)).argmax(-1) == label).double().mean().item()


def test_h_learns_what_only_an_earlier_snapshot_shows_and_o_cannot() -> None:
    assert train_on_the_first_step(EGCN_H) > 0.8
    assert abs(train_on_the_first_step(EGCN_O) - 0.5) < 0.06  # 1000 coins: 0.5 +- 0.016


# ---------------------------------------------------------------- refusals


def test_a_graph_that_does_not_fit_is_refused() -> None:
    graph = graph_of(9)
    bad = graph.x.clone()
    bad[3, 2] = float("nan")
    with pytest.raises(ValueError, match="feature 2 of node 3 is nan"):
        with_x(graph, bad)
    bad[3, 2] = float("inf")
    with pytest.raises(ValueError, match="feature 2 of node 3 is inf"):
        with_x(graph, bad)
    with pytest.raises(ValueError, match="x has 8 nodes but the adjacency has 9"):
        with_x(graph, graph.x[:8])
    with pytest.raises(ValueError, match=r"torch\.float32 but the adjacency is torch\.float64"):
        with_x(graph, graph.x.float())
    with pytest.raises(ValueError, match=r"active is \(8,\)"):
        replace(graph, active=torch.ones(8, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"it should be \[nodes, features\]"):
        with_x(graph, graph.x[0])
    assert with_x(graph, torch.full((9, D), 1e308)).x.isfinite().all()  # whose sum is not


def test_a_state_or_window_that_does_not_fit_is_refused() -> None:
    model, graphs = model_of(EGCN_H), window()
    state = model(graphs)[1]
    with pytest.raises(ValueError, match="policy 'reset' starts every window anew"):
        model(graphs, state)
    with pytest.raises(ValueError, match=r"weight is \(5, 4\) but that of the state passed is \(4, 5\)"):
        model(graphs, tuple(tuple(WeightState(each.weight.mT) for each in layer) for layer in state), policy="carry")
    with pytest.raises(ValueError, match=r"weight is \(4, 3\) but that of the state passed is \(5, 4\)"):
        model(graphs, (state[0], state[0]), policy="carry")
    with pytest.raises(ValueError, match="2 layers but the state passed is of 1"):
        model(graphs, state[:1], policy="carry")
    with pytest.raises(ValueError, match="1 weights but the state passed has 2"):
        model(graphs, (state[0] * 2, state[1]), policy="carry")
    with pytest.raises(ValueError, match="a GRU's state has no context"):
        model(graphs, model_of(EvolveGCNSettings("H", "lstm"))(graphs)[1], policy="carry")
    with pytest.raises(ValueError, match="the state is of a batch"):
        model(graphs, model([stack_graphs([graph, graph]) for graph in graphs])[1], policy="carry")
    with pytest.raises(ValueError, match="no snapshots"):
        model([])
    with pytest.raises(ValueError, match="reads 4 features but x has 5"):
        model_of(EGCN_H, [4, 3])(graphs)
    with pytest.raises(ValueError, match="make the adjacency by symmetric_adjacency"):
        model(window(directed=True))
    with pytest.raises(ValueError, match="no update gate to close"):
        EvolveGCNSettings("O", "lstm", "closed_gate")


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_norms_that_are_watched_are_those_of_the_weights_at_every_step(settings: EvolveGCNSettings) -> None:
    model, graphs = model_of(settings), window()
    with watched_norms(model) as noted:
        model(graphs)
    model(graphs)  # after it is closed nothing is noted any more
    _, weights = reference(model, graphs)
    for layer, cell in enumerate(model.layers):
        expected = [cell.weights[0].initial, *(step[layer] for step in weights)]
        assert noted[f"layer {layer + 1}"] == pytest.approx([float(each.detach().norm()) for each in expected])


def test_both_directions_of_a_layer_are_watched() -> None:
    model = model_of(replace(SETTINGS[0], directed=True))
    with watched_norms(model) as noted:
        model(window(directed=True))
    assert list(noted)[:2] == ["layer 1, along edges", "layer 1, against edges"]
