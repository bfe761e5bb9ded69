"""The commands of the synthetic tasks; like the others they import what they need inside."""

from pathlib import Path
from typing import Annotated, Optional

import typer

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Compare aggregations on tasks whose data are drawn at random and whose answers are known.

    `second-minimum` is a set of numbers to its second smallest; `pna` six properties of random graphs at once. No
    data are read, nothing is registered; figures go to the MLflow experiment `synthetic`.
    """,
)

Aggregation = Annotated[
    str, typer.Option(help="How many rows become one: mean, sum, max, pna, gru, lcm; PyG's own are pyg-gru, pyg-lcm.")
]
AssocWeight = Annotated[
    float, typer.Option(help="Weight of the penalty for not being associative, of lcm alone; 0.01 for short runs.")
]
Seeds = Annotated[int, typer.Option(help="How many trainings, with the seeds 0, 1, and so on.")]
Width = Annotated[int, typer.Option(help="Channels of every layer.")]
LearningRate = Annotated[float, typer.Option(help="Of Adam.")]
Out = Annotated[Optional[Path], typer.Option(help="A Parquet file for the figures, a row a seed and size or task.")]


@app.command("second-minimum")
def second_minimum(
    aggregation: Aggregation = "lcm",
    assoc_weight: AssocWeight = 0.0,
    steps: Annotated[int, typer.Option(help="Batches to train on.")] = 6000,
    seeds: Seeds = 1,
    size: Annotated[
        Optional[list[int]],
        typer.Option(help="A size of the sets to be judged on; again for more. 2 to 200 by default."),
    ] = None,
    width: Width = 64,
    batch_size: Annotated[int, typer.Option(help="Sets a step.")] = 128,
    learning_rate: LearningRate = 1e-3,
    out: Out = None,
) -> None:
    """Find the second smallest of a set of 8-bit numbers.

    Trained on sets of 2 to 16, so that larger ones show what was understood; the weights kept are those that did best
    on sets of 32. Accuracy counts a set where all eight bits are right.

    `flockcast synthetic second-minimum --aggregation lcm --assoc-weight 0.01 --seeds 3` takes about 20 minutes on a
    core; `--aggregation sum` a tenth of that.
    """
    from pipelines.synthetic.experiment import find_second_minimum
    from pipelines.synthetic.second_minimum import SIZES
    from pipelines.synthetic.tables import set_table
    from pipelines.synthetic.training import Training

    training = Training(
        aggregation,
        assoc_weight=assoc_weight,
        width=width,
        batch_size=batch_size,
        learning_rate=learning_rate,
        steps=steps,
    )
    scores = find_second_minimum(training, seeds=seeds, sizes=size or SIZES, out=out, say=typer.echo)
    typer.echo(set_table(scores))


@app.command()
def pna(
    aggregation: Aggregation = "lcm",
    assoc_weight: AssocWeight = 0.0,
    minutes: Annotated[
        Optional[float], typer.Option(help="How long to train, 8 by default; another run may get another result.")
    ] = None,
    steps: Annotated[
        Optional[int], typer.Option(help="Batches to train on in place of minutes; the same result every time.")
    ] = None,
    seeds: Seeds = 1,
    graphs: Annotated[int, typer.Option(help="Training graphs of each size, 15 to 24 nodes.")] = 512,
    far_graphs: Annotated[
        int,
        typer.Option(help="Test graphs of each size beyond the training's, up to 99 nodes; the papers have 256."),
    ] = 0,
    width: Width = 64,
    batch_size: Annotated[int, typer.Option(help="Graphs a step.")] = 64,
    learning_rate: LearningRate = 1e-3,
    out: Out = None,
) -> None:
    """Tell six properties of random graphs at once.

    Of each node its distance from a source, its eccentricity and the Laplacian of its feature; of the graph whether it
    is connected, its diameter and its spectral radius. The table has log10 of the mean squared error: -3 is an error of
    about 3 % of the largest value in training. Below it is that of always saying the training mean.

    `flockcast synthetic pna --aggregation lcm --minutes 8` takes ten minutes on a core.
    """
    from pipelines.synthetic.experiment import solve_pna
    from pipelines.synthetic.tables import task_table
    from pipelines.synthetic.training import Training

    training = Training(
        aggregation,
        assoc_weight=assoc_weight,
        width=width,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=1e-6,
        steps=steps,
        minutes=8 if steps is None and minutes is None else minutes,
        check_every=40,
    )
    scores = solve_pna(training, seeds=seeds, graphs=graphs, far_graphs=far_graphs, out=out, say=typer.echo)
    typer.echo(task_table(scores))
