"""A synthetic task over some seeds: train, judge, keep the figures in MLflow. Nothing is registered."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import polars as pl

from data.pna_multitask import draw_multitask
from pipelines.checkpoint import write_whole
from pipelines.errors import SpecError, Stopped
from pipelines.register import experiment_id
from pipelines.registry import client
from pipelines.synthetic import pna, second_minimum
from pipelines.synthetic.training import Course, Say, Training

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "synthetic"
Figure = tuple[str, float, int]  # metric, value, step
Run = Callable[[Training], tuple[pl.DataFrame, Course]]


def find_second_minimum(
    training: Training, *, seeds: int, sizes: Sequence[int], out: Path | None = None, say: Say = print
) -> pl.DataFrame:
    """The rows of `second_minimum.run`, with the seed. Raises SpecError."""
    second_minimum.check_sizes(sizes)
    return _over_seeds(
        "second-minimum",
        training,
        lambda one: second_minimum.run(one, sizes=sizes, say=say),
        seeds=seeds,
        out=out,
        say=say,
    )


def solve_pna(
    training: Training, *, seeds: int, graphs: int, far_graphs: int, out: Path | None = None, say: Say = print
) -> pl.DataFrame:
    """The rows of `pna.run`, with the seed, of `graphs` a size in training. Raises SpecError."""
    if graphs < 1 or far_graphs < 0:
        raise SpecError(f"--graphs is {graphs} and --far-graphs {far_graphs}; they are at least 1 and at least 0")
    _check_before(seeds, out)
    say("drawing the graphs")
    data = draw_multitask(train=graphs, far=far_graphs)
    return _over_seeds("pna", training, lambda one: pna.run(one, data, say=say), seeds=seeds, out=out, say=say)


def _over_seeds(task: str, training: Training, run: Run, *, seeds: int, out: Path | None, say: Say) -> pl.DataFrame:
    _check_before(seeds, out)
    store = client()
    frames: list[pl.DataFrame] = []
    for seed in range(training.seed, training.seed + seeds):
        one = replace(training, seed=seed)
        with _saying_what_a_stop_costs(len(frames)):
            frame, course = run(one)
        _log(store, task, one, frame, course)
        frames.append(frame.select(pl.lit(seed).alias("seed"), pl.all()))
        if out is not None:
            write_whole(out, pl.concat(frames).write_parquet)
    if out is not None:
        say(f"wrote {out}")
    return pl.concat(frames)


def _check_before(seeds: int, out: Path | None) -> None:
    """What would be told after minutes of training else."""
    if seeds < 1:
        raise SpecError(f"--seeds is {seeds}; at least one is trained")
    if out is not None and out.is_dir():
        raise SpecError(f"--out {out} is a folder; name a file in it, as {out / 'results.parquet'}")


@contextmanager
def _saying_what_a_stop_costs(done: int) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        kept = f"; the {done} seeds before are in MLflow" if done else ""
        raise Stopped(f"stopped; a synthetic training starts anew, this one is not kept{kept}") from None


def _log(store: "MlflowClient", task: str, training: Training, frame: pl.DataFrame, course: Course) -> None:
    """One MLflow run a seed: settings, the course of the training, and the figures by size or by task."""
    from mlflow.entities import Metric, Param

    now = int(pd.Timestamp.now("UTC").timestamp() * 1000)
    name = f"{task} {training.name} seed {training.seed}"
    run = store.create_run(experiment_id(store, EXPERIMENT), run_name=name)
    settings = {key: value for key, value in asdict(training).items() if value is not None}
    told = {"task": task, **settings, "parameters": course.parameters, "best_step": course.best_step}
    rows = [*figures(frame), *_course(course)]
    store.log_batch(
        run.info.run_id,
        params=[Param(key, str(value)) for key, value in told.items()],
        metrics=[Metric(key, value, now, step) for key, value, step in rows if np.isfinite(value)],
    )
    store.set_terminated(run.info.run_id)


def figures(frame: pl.DataFrame) -> list[Figure]:
    """Sets: each figure with the size as its step. PNA: the figure of each task and range."""
    if "size" in frame.columns:
        return [(name, row[name], row["size"]) for row in frame.to_dicts() for name in row if name != "size"]
    return [
        (f"{name}.{row['task']}.{row['sizes']}", row[name], 0)
        for row in frame.to_dicts()
        for name in row
        if name not in ("sizes", "task")
    ]


def _course(course: Course) -> list[Figure]:
    return [(name, row[name], int(row["step"])) for row in course.checks.to_dicts() for name in ("loss", "validation")]
