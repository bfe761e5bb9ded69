"""The schema of an experiment on a dynamic graph: `[data] kind = "edges"`."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipelines.spec import EDGE_INTERVAL, Experiment, Share, Split, known_zone
from pipelines.spec_table import Table

# ---------------------------------------------------------------- [data]


class EdgeColumns(Table):
    """Which columns of an edge list mean what; those of a file without a header are column_0, column_1, ..."""

    source: str = Field("source", description="from which node")
    target: str = Field("target", description="to which node")
    time: str = Field("time", description="when")
    weight: str | None = Field(None, description="how much; every row counts 1 where there is none")
    label: str | None = Field(None, description="a rating: an edge is of class 1 if more of its rows lie above 0")


class NodeColumns(Table):
    """Which columns of a table of nodes mean what; those of a file without a header are column_0, column_1, ..."""

    node: str = Field("node", description="which node, by the name that the edges give it")
    time: str | None = Field(
        None, description="at which step; without it a row counts at every step at which its node has an edge"
    )
    label: str | None = Field(None, description="of which class; an empty cell is not known")
    features: list[str] = Field([], description="numbers known of a node; an empty cell counts as the training mean")

    @model_validator(mode="after")
    def says_something(self) -> Self:
        if self.label is None and not self.features:
            raise ValueError("neither label nor features are named; name one of them")
        twice = next((name for name in self.features if self.features.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"features names {twice!r} more than once")
        return self


class NodeData(Table):
    """What is known of nodes: one row a node at a step, or a node where there is no time."""

    files: str | list[str] = Field(description="CSV, TSV, blanks (also gz) or Parquet: a path, a glob, or several")
    columns: NodeColumns = Field(description="which columns mean what; times are read as those of the edges")
    has_header: bool = Field(True, description="whether the first row names the columns")
    unknown: list[str] = Field([], description="labels that stand for 'not known', besides an empty cell")
    classes: list[str] | None = Field(
        None, description="the labels, in the order of the classes; those that occur, sorted, by default"
    )

    @field_validator("classes")
    @classmethod
    def several(cls, classes: list[str] | None) -> list[str] | None:
        if classes is not None and (len(classes) < 2 or len(set(classes)) < len(classes)):
            raise ValueError("must name two classes or more, each once")
        return classes


class EdgeData(Table):
    """Timestamped edges: one row an event between two nodes. Equal pairs of a step become one edge."""

    kind: Literal["edges"]
    files: str | list[str] = Field(description="CSV, TSV, blanks (also gz) or Parquet: a path, a glob, or several")
    columns: EdgeColumns = Field(EdgeColumns(), description="which columns mean what")
    nodes: NodeData | None = Field(None, description="features and labels of the nodes, where there are any")
    has_header: bool = Field(True, description="whether the first row names the columns")
    interval: str = Field(
        pattern=EDGE_INTERVAL,
        description="length of a step: seconds from the first event (1200000s), 1h, 1d, 1mo, or rank: one step a "
        "distinct time",
    )
    epoch: Literal["s", "ms", "us"] | None = Field(None, description="what numbers in the time column count since 1970")
    timezone: str = Field("UTC", description="IANA name; of times without an offset, and of days and weeks")
    symmetrise: bool = Field(True, description="every event counts in both directions, as in the paper")
    keep_self_loops: bool = Field(True, description="an edge from a node to itself counts")
    max_rejected_share: Share = Field(0.05, description="the run stops when more of the rows are unusable")
    quarantine_examples: int = Field(20, ge=0, le=1000, description="rejected rows to keep for each reason")
    origin: str = Field("", description="where the data come from")
    licence: str = Field("", description="on what terms")

    _zone = field_validator("timezone")(known_zone)


# ---------------------------------------------------------------- [task]


PAIR_CLASSES = 2  # of edges, and of pairs with a link or without


class GraphTaskBase(Table):
    window: int = Field(11, ge=1, description="snapshots that the model reads; the paper's hist + 1")
    split: Split = Field(
        Split(),
        description="training, validation and test; shares are cut to whole steps as in the paper's code",
    )


class LinkTask(GraphTaskBase):
    """Which pairs are linked in the next step, among all ordered pairs of nodes."""

    kind: Literal["links"]
    top: int = Field(1000, ge=1, description="pairs that a forecast lists")


class EdgeLabelTask(GraphTaskBase):
    """Of which class each edge of a step is."""

    kind: Literal["edge_labels"]
    minority: Literal[0, 1] = Field(0, description="the rare class, that of minority_f1")


class NodeLabelTask(GraphTaskBase):
    """Of which class each node of a step is; nodes whose class is not known are left out of loss and figures."""

    kind: Literal["node_labels"]
    minority: str | None = Field(
        None, description="the rare class, that of minority_f1; the rarest of the training steps by default"
    )


GraphTask = Annotated[LinkTask | EdgeLabelTask | NodeLabelTask, Field(discriminator="kind")]

# ---------------------------------------------------------------- [model]


class GraphModelBase(Table):
    hidden: int = Field(64, ge=1, description="width of the embeddings")
    layers: int = Field(2, ge=1, description="graph convolutions on top of each other")
    head: int = Field(100, ge=1, description="width of the head's hidden layer")
    symmetric: bool = Field(False, description="a head that knows no direction of a pair")
    features: Literal["auto", "given", "degree", "log_degree"] = Field(
        "auto",
        description="given: those of [data.nodes], scaled by the training steps; degree: one-hot of the "
        "out-degree, as in the paper; log_degree: one column log(1 + degree); auto: given if there are any, or degree",
    )
    largest_degree: int | None = Field(
        None, ge=1, description="larger degrees count as this; the largest of training by default"
    )
    pair_memory: bool = Field(
        False,
        description="the head also reads what is remembered of a pair of nodes: when and by how much it was linked, "
        "and how busy either end is",
    )
    stacked: bool = Field(
        False,
        description="scores of links are the rule repeat_and_activity times the network's odds to a power that "
        "validation chooses, from 0 (the rule alone) to 10; needs pair_memory",
    )

    @model_validator(mode="after")
    def memory_to_stack_on(self) -> Self:
        if self.stacked and not self.pair_memory:
            raise ValueError("stacked needs pair_memory = true: the network corrects what the memory's rule says")
        return self

    @property
    def suffix(self) -> str:
        return "+rule" if self.stacked else "+memory" if self.pair_memory else ""


class EvolvingModel(GraphModelBase):
    """EvolveGCN: graph convolutions whose weights a recurrence evolves (Pareja et al. 2020)."""

    name: Literal["evolvegcn"]
    variant: Literal["H", "O"] = Field("H", description="H reads the nodes; O with policy reset is a static GCN")
    rnn: Literal["gru", "lstm"] = Field("gru", description="the recurrence over weights")
    remedy: Literal["none", "closed_gate", "residual", "keep_norm"] = Field(
        "none", description="against weights that shrink to nothing before training"
    )
    policy: Literal["reset", "carry"] = Field(
        "reset", description="weights restart in every window, or go on over the whole history"
    )
    skip: bool = Field(False, description="raw features stand beside the embeddings")
    root: bool = Field(False, description="a learned map of a node's own features that does not evolve")

    @model_validator(mode="after")
    def gate_to_close(self) -> Self:
        if self.remedy == "closed_gate" and self.rnn == "lstm":
            raise ValueError("the LSTM has no update gate to close; choose remedy 'residual' or 'keep_norm'")
        return self

    @property
    def label(self) -> str:
        return f"evolvegcn-{self.variant.lower()}{self.suffix}"


class StaticModel(GraphModelBase):
    """A graph convolution network on the last snapshot alone, or one with a GRU along time for each node."""

    name: Literal["gcn", "gcn_gru"]

    @property
    def label(self) -> str:
        return self.name + self.suffix


GraphModel = Annotated[EvolvingModel | StaticModel, Field(discriminator="name")]

# ---------------------------------------------------------------- the rest


class GraphTraining(Table):
    """Adam, one step a window, windows in the order of time; on the CPU."""

    epochs: int = Field(100, ge=1, description="passes over the training windows, at most")
    patience: int = Field(20, ge=1, description="validations without a better score before training stops")
    check_every: int = Field(1, ge=1, description="epochs between validations")
    check_steps: int | None = Field(
        None, ge=1, description="validate on about this many steps, evenly spread; on all of the range by default"
    )
    learning_rate: float = Field(5e-3, gt=0, description="of Adam")
    class_weights: list[float] | None = Field(
        None,
        description="what a sample of each class counts in the loss; by default links count 0.9 and other pairs 0.1, "
        "the rare class 0.8 and any other 0.2",
    )

    @field_validator("class_weights")
    @classmethod
    def weigh_something(cls, weights: tuple[float, float] | None) -> tuple[float, float] | None:
        if weights is not None and (min(weights) < 0 or max(weights) == 0):
            raise ValueError("must be 0 or more, and one of them above 0")
        return weights

    negatives: int = Field(50, ge=1, description="pairs without a link for each link, drawn anew in every epoch")
    sampling: Literal["smart", "uniform"] = Field(
        "smart", description="sources of links to targets that were active, or all pairs alike"
    )
    seed: int = Field(0, ge=0, description="the same spec, data and seed give the same weights")
    threads: int = Field(1, ge=1, description="CPU threads; 1 is fastest on a shared machine")


LinkYardstick = Literal["random", "activity", "repeat", "repeat_and_activity", "gcn", "gcn_gru", "majority"]


class GraphEvaluation(Table):
    baselines: list[LinkYardstick] = Field(
        ["random", "activity", "repeat", "repeat_and_activity", "majority", "gcn", "gcn_gru"],
        description="the yardsticks; those of the other kind of task are left out",
    )


class GraphRegistry(Table):
    model: str | None = Field(None, description="the registered model's name; the experiment's name by default")
    metric: Literal["auto", "map", "mrr", "minority_f1", "micro_f1"] = Field(
        "auto",
        description="what validation chooses an epoch by, and champion and challenger are compared by; auto: map of "
        "links, minority_f1 of classes",
    )
    min_improvement: Share = Field(0.01, description="a challenger must be better by this share to become champion")
    tracking_uri: str | None = Field(
        None, description="an MLflow store; MLFLOW_TRACKING_URI or the local one by default"
    )


class GraphSpec(Experiment):
    """A whole experiment on a dynamic graph."""

    default_model = "evolvegcn"

    data: EdgeData = Field(description="what is read")
    task: GraphTask = Field(description="what is forecast")
    model: GraphModel = Field(description="by which network")
    training: GraphTraining = Field(GraphTraining(), description="how it is fitted")
    evaluation: GraphEvaluation = Field(GraphEvaluation(), description="how it is judged")
    registry: GraphRegistry = Field(GraphRegistry(), description="where its versions go")

    @model_validator(mode="before")
    @classmethod
    def model_has_a_name(cls, raw: Any) -> Any:
        if isinstance(raw, dict):
            return {**raw, "model": {"name": cls.default_model, **raw.get("model", {})}}
        return raw

    @model_validator(mode="after")
    def parts_go_together(self) -> Self:
        if isinstance(self.task, EdgeLabelTask) and self.data.columns.label is None:
            raise ValueError("data.columns.label is missing: the task 'edge_labels' needs a column of ratings")
        if isinstance(self.task, NodeLabelTask):
            self._require_nodes()
        elif self.training.class_weights is not None and len(self.training.class_weights) != PAIR_CLASSES:
            raise ValueError(f"training.class_weights must be {PAIR_CLASSES} numbers, of class 0 and class 1")
        given = self.data.nodes.columns.features if self.data.nodes else []
        if self.model.features == "given" and not given:
            raise ValueError("model.features 'given' needs data.nodes.columns.features, which names none")
        if self.model.stacked and not isinstance(self.task, LinkTask):
            raise ValueError("model.stacked is of links alone: no rule tells the classes of edges; leave it out")
        metrics = ("map", "mrr") if isinstance(self.task, LinkTask) else ("minority_f1", "micro_f1")
        if self.registry.metric not in ("auto", *metrics):
            raise ValueError(f"registry.metric {self.registry.metric!r} is none of this task's: {', '.join(metrics)}")
        return self

    def _require_nodes(self) -> None:
        if self.data.nodes is None or self.data.nodes.columns.label is None:
            raise ValueError("data.nodes.columns.label is missing: the task 'node_labels' needs a table of nodes")
        for key in ("pair_memory", "symmetric"):
            if getattr(self.model, key):
                raise ValueError(f"model.{key} is about pairs of nodes; leave it out of the task 'node_labels'")

    @property
    def registered_name(self) -> str:
        return self.registry.model or self.name

    @property
    def metric(self) -> str:
        """What this task is selected and compared by."""
        if self.registry.metric != "auto":
            return self.registry.metric
        return "map" if isinstance(self.task, LinkTask) else "minority_f1"
