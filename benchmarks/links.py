"""EvolveGCN on the paper's public data sets, beside its figures and the rules that remember links.

    .venv/bin/python benchmarks/links.py uci as --seeds 0 1 2
    .venv/bin/python benchmarks/links.py otc otc-edges --folder FOLDER

Prints one line a run, and Markdown tables at the end. Links are judged over all ordered pairs of the test steps. The
epoch is chosen by validation.

FOLDER holds soc-sign-bitcoinotc.csv.gz, which SNAP publishes (snap.stanford.edu/data/soc-sign-bitcoin-otc.html). It
states no licence, so it does not come along.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from pipelines.graph_task.evaluate import by_rules, judge_classes, judge_links
from pipelines.graph_task.ingest import ingest_or_reuse
from pipelines.graph_task.prepare import Prepared, prepare
from pipelines.graph_task.spec import GraphSpec
from pipelines.graph_task.train import fit
from pipelines.link_metrics import mean_over_steps
from pipelines.spec import load_spec, parse_any

RULES = ("random", "activity", "repeat", "repeat_and_activity")
MODELS: dict[str, dict[str, Any]] = {
    "evolvegcn-h": {"name": "evolvegcn", "variant": "H"},
    "evolvegcn-o": {"name": "evolvegcn", "variant": "O"},
    "evolvegcn-o, norm kept": {"name": "evolvegcn", "variant": "O", "remedy": "keep_norm"},
    "evolvegcn-h+memory": {"name": "evolvegcn", "variant": "H", "pair_memory": True},
    "evolvegcn-h+rule": {"name": "evolvegcn", "variant": "H", "pair_memory": True, "stacked": True},
    "gcn": {"name": "gcn"},
    "gcn_gru": {"name": "gcn_gru"},
}
# what the budget of two shared cores allowed; the paper's: hidden 30 to 171, 500 to 1,000 epochs, 50 to 100 negatives
MODEL: dict[str, dict[str, Any]] = {
    "uci": {"hidden": 64, "head": 64},
    "as": {"hidden": 32, "head": 32, "largest_degree": 100, "skip": True},
    "otc": {"hidden": 32, "head": 64},
    "otc-edges": {"hidden": 32, "head": 64},
}
TRAINING: dict[str, dict[str, Any]] = {
    "uci": {"epochs": 2, "negatives": 20, "learning_rate": 5e-3},
    "as": {"epochs": 2, "check_steps": 3, "negatives": 5, "sampling": "uniform"},
    "otc": {"epochs": 1, "negatives": 10, "check_steps": 5},
    "otc-edges": {"epochs": 30, "learning_rate": 2e-3},
}
# Pareja et al. 2020 (arXiv:1902.10191), Table 2: MAP and MRR
PAPER = {
    "uci": {"gcn": (0.0251, 0.1141), "gcn_gru": (0.0114, 0.0985)}
    | {"evolvegcn-h": (0.0126, 0.0899), "evolvegcn-o": (0.0270, 0.1379)},
    "as": {"gcn": (0.0003, 0.0555), "gcn_gru": (0.0713, 0.3388)}
    | {"evolvegcn-h": (0.1534, 0.3632), "evolvegcn-o": (0.1139, 0.2746)},
    "otc": {"gcn": (0.0003, 0.0025), "gcn_gru": (0.0001, 0.0003)}
    | {"evolvegcn-h": (0.0026, 0.0690), "evolvegcn-o": (0.0028, 0.0968)},
}
Figures = tuple[float, float]  # MAP and MRR, or the F1 of the rare class and micro F1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", default=["uci", "as"], choices=list(TRAINING))
    parser.add_argument("--folder", type=Path, help="where soc-sign-bitcoinotc.csv.gz is")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--models", nargs="*", default=list(MODELS)[:4], choices=list(MODELS))
    parser.add_argument("--rules", nargs="*", default=list(RULES), choices=list(RULES))
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ.setdefault("FLOCKCAST_HOME", home)
        found: dict[str, dict[str, list[Figures]]] = {name: {} for name in chosen.data}
        for name in chosen.data:
            for rule, figures in rules(prepared(name, "gcn", 0, chosen.folder)[1], chosen.rules):
                keep(found[name], name, rule, figures)
        for seed in chosen.seeds:  # a first seed of everything before the second of anything
            for name in chosen.data:
                for model in chosen.models:
                    if name != "otc-edges" or not MODELS[model].get("pair_memory"):
                        keep(found[name], name, model, run(name, model, seed, chosen.folder))
    for name in chosen.data:
        print(table(name, found[name]))


def experiment(name: str, model: str, seed: int, folder: Path | None) -> GraphSpec:
    """The spec of a run: a bundled one, or that of the file in `folder`, with the budget of this benchmark."""
    raw = bundled(name) if name in ("uci", "as") else of_bitcoin(name, folder)
    raw |= {
        "model": MODEL[name] | MODELS[model],
        "training": TRAINING[name] | {"patience": TRAINING[name]["epochs"], "seed": seed},
    }
    if not model.startswith("evolvegcn"):
        raw["model"].pop("skip", None)
    spec = parse_any(raw, folder=folder or Path())
    assert isinstance(spec, GraphSpec)
    return spec


def bundled(name: str) -> dict[str, Any]:
    spec = load_spec({"uci": "uci-links", "as": "as733-links"}[name])
    return json.loads(spec.model_dump_json(include={"name", "data", "task"}))


def of_bitcoin(name: str, folder: Path | None) -> dict[str, Any]:
    if folder is None:
        raise SystemExit(f"{name} needs --folder with soc-sign-bitcoinotc.csv.gz; see --help")
    columns = {"source": "column_0", "target": "column_1", "label": "column_2", "time": "column_3"}
    return {
        "name": "bitcoin-otc",
        "data": {
            "kind": "edges",
            "files": "soc-sign-bitcoinotc.csv.gz",
            "has_header": False,
            "columns": columns,
            "epoch": "s",
            "interval": "1200000s",
        },
        "task": {"kind": "links" if name == "otc" else "edge_labels", "window": 11},
    }


def prepared(name: str, model: str, seed: int, folder: Path | None) -> tuple[GraphSpec, Prepared]:
    spec = experiment(name, model, seed, folder)
    return spec, prepare(spec, ingest_or_reuse(spec, say=lambda line: None)[0])


def rules(task: Prepared, names: list[str]) -> Iterable[tuple[str, Figures]]:
    if not task.is_about_links:
        scores, _ = judge_classes({}, task, ["majority"], task.ranges.test)
        yield "majority", (scores["minority_f1"][0], scores["micro_f1"][0])
        return
    for name in names:
        means = mean_over_steps(by_rules(task, task.ranges.test, [name])[name])
        yield name, (means.mean_average_precision, means.unfiltered.expected)


def run(name: str, model: str, seed: int, folder: Path | None) -> Figures:
    spec, task = prepared(name, model, seed, folder)
    place = Path(os.environ["FLOCKCAST_HOME"]) / "runs"
    fitted = fit(task, spec.model, spec.training, folder=place, say=lambda line: None)
    epochs = fitted.history.epochs
    print(
        f"{name} {model} seed {seed}: {len(epochs)} epochs of {epochs['seconds'].mean():.1f} s, best "
        f"{fitted.history.best_epoch + 1} at validation {epochs['validation_score'].fill_nan(None).max():.4f}",
        flush=True,
    )
    frames = task.frames(spec.model, is_local=fitted.network.is_local)
    judge = judge_links if task.is_about_links else judge_classes
    scores, _ = judge({model: (fitted.network, frames)}, task, [], task.ranges.test)
    first, second = ("map", "mrr") if task.is_about_links else ("minority_f1", "micro_f1")
    return scores[first][0], scores[second][0]


def keep(found: dict[str, list[Figures]], name: str, model: str, figures: Figures) -> None:
    found.setdefault(model, []).append(figures)
    print(f"{name} {model}: {figures[0]:.4f} / {figures[1]:.4f}", flush=True)


def table(name: str, found: dict[str, list[Figures]]) -> str:
    what = "F1 of bad ratings / micro F1" if name == "otc-edges" else "MAP / MRR"
    lines = [f"### {name}", "", f"| model | {what} | seeds | paper |", "| --- | ---: | ---: | ---: |"]
    for model, figures in found.items():
        ours = " / ".join(spread(list(each)) for each in zip(*figures, strict=True))
        paper = PAPER.get(name, {}).get(model)
        theirs = f"{paper[0]:.4f} / {paper[1]:.4f}" if paper else ""
        lines.append(f"| {model} | {ours} | {len(figures)} | {theirs} |")
    return "\n".join(lines) + "\n"


def spread(values: list[float]) -> str:
    return f"{mean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
