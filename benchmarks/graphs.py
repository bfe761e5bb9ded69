"""Forecasts of nodes on graphs: EvolveGCN on the edges of each step, and what shows whether these help.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/graphs.py england-covid nyc-green --seeds 3

Prints Markdown. The same model runs on the flows of each step and on their mean over training (frozen); -O, which is a
static GCN on the last step's graph, a GCN with ordinary weights, a GRU without a graph, and the yardsticks stand beside
them. Nothing is tuned on the test range. Budgets are small: at most 15 epochs, hidden width 16.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import mean

from backtested import figures, measured, spread

from pipelines.ingest import ingest
from pipelines.spec import EvolveGcnModel, GcnModel, Model, RecurrentModel, Spec, load_spec

SMALL = {"hidden": 16}
KEYS = ("mae", "rmse", "validation", "seconds")
EVOLVING = {"name": "evolvegcn", "snapshots": 6, **SMALL}


def models(predict: str) -> dict[str, Model]:
    """What is compared, by the name of its row; all forecast in the same form."""
    return {
        "EvolveGCN-H, flows of each step": EvolveGcnModel(graph="flows", predict=predict, **EVOLVING),
        "EvolveGCN-H, frozen mean flows": EvolveGcnModel(graph="flows-mean", predict=predict, **EVOLVING),
        "EvolveGCN-O, flows of each step": EvolveGcnModel(variant="O", graph="flows", predict=predict, **EVOLVING),
        "GCN, flows of the last step": GcnModel(name="gcn", graph="flows", predict=predict, **SMALL),
        "GCN, frozen mean flows": GcnModel(name="gcn", graph="flows-mean", predict=predict, **SMALL),
        "GRU, no graph": RecurrentModel(name="gru", predict=predict),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specs", nargs="*", default=["england-covid", "nyc-green"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=15)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen.specs:
            print(table(load_spec(name), chosen.seeds, chosen.epochs, Path(folder)), flush=True)


def table(spec: Spec, seeds: int, epochs: int, folder: Path) -> str:
    dataset = ingest(spec, say=lambda line: None)
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in range(seeds):
        for name, model in models(getattr(spec.model, "predict", "auto")).items():
            yardsticks = seed == 0 and isinstance(model, RecurrentModel)
            result, cost = measured(variant(spec, model, seed, epochs, yardsticks), dataset, folder)
            rows.setdefault(name, []).append(figures(result, result.model) | ({} if yardsticks else cost))
            for other in set(result.forecasts) - {result.model}:
                rows[other] = [figures(result, other)]
    ordered = sorted(rows.items(), key=lambda found: mean(run["mae"] for run in found[1]))
    head = ["| model | MAE | RMSE | validation loss | CPU seconds |", "| --- | ---: | ---: | ---: | ---: |"]
    body = [f"| {name} | {' | '.join(spread(found, key) for key in KEYS)} |" for name, found in ordered]
    return "\n".join([f"### {spec.name}", "", result.protocol, "", *head, *body, ""])


def variant(spec: Spec, model: Model, seed: int, epochs: int, yardsticks: bool) -> Spec:
    none = {} if yardsticks else {"baselines": []}
    return spec.model_copy(
        update={
            "model": model,
            "training": spec.training.model_copy(update={"seed": seed, "epochs": epochs, "patience": 5}),
            "evaluation": spec.evaluation.model_copy(update=none),
        }
    )


if __name__ == "__main__":
    main()
