"""One TOML file describes an experiment; this module is its schema.

Every mistake in a file is one readable line: the key, what is wrong, what is allowed, the nearest valid spelling.
"""

import difflib
import hashlib
import json
import tomllib
import zoneinfo
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeVar, get_args

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from pipelines.errors import SpecError
from pipelines.privacy.spec import Privacy, ReleasePrivacy
from pipelines.spec_table import BatchSize, Steps, Table

if TYPE_CHECKING:
    from pipelines.graph_task.spec import GraphSpec

BUNDLED = Path(__file__).parent / "specs"
INTERVAL = r"^(auto|[1-9][0-9]*(m|h|d|w|mo|q|y))$"
EDGE_INTERVAL = r"^(rank|[1-9][0-9]*(s|m|h|d|w|mo|q|y))$"

Share = Annotated[float, Field(ge=0, le=1)]

# ---------------------------------------------------------------- [data]


class TripColumns(Table):
    """Which columns of a trip file mean what."""

    start: str = Field(description="when a trip began")
    end: str = Field(description="when it ended")
    source: str = Field(description="where it began")
    target: str = Field(description="where it ended")


class OdColumns(Table):
    """Which columns of an origin-destination count file mean what."""

    time: str = Field("time", description="the beginning of the interval")
    source: str = Field("source", description="from where")
    target: str = Field("target", description="to where")
    weight: str = Field("weight", description="how many")


class LongColumns(Table):
    """One row per series and time, as Nixtla's tools have it."""

    id: str = Field("unique_id", description="which series a row belongs to")
    time: str = Field("ds", description="when")
    values: list[str] | str = Field("y", description="what was measured: one variable, or several")


class WideColumns(Table):
    """One row per time, one column per node. Two time columns (date, clock) are joined."""

    time: list[str] | str = Field("time", description="when")
    values: list[str] | Literal["rest"] = Field("rest", description="the nodes; `rest` is every other column")
    ignore: list[str] = Field([], description="columns that are no nodes, such as a total")


class Zones(Table):
    """A table of the known nodes, and what is known of each."""

    file: str = Field(description="CSV or Parquet")
    id: str = Field(description="the column that the data refer to")
    label: str | None = Field(None, description="the column with a name for readers")
    latitude: str | None = Field(None, description="the column with degrees north; coordinates make maps")
    longitude: str | None = Field(None, description="the column with degrees east")
    unknown: list[str] = Field([], description="ids in the table that stand for 'not known'")


class Unobserved(Table):
    """A stretch in which a variable's values mean 'not reported'; `end` is the first instant that counts again."""

    variable: str = Field(description="whose values do not count")
    start: datetime | None = Field(None, description="from the beginning where there is none")
    end: datetime | None = Field(None, description="to the end where there is none")


def known_zone(name: str) -> str:
    """A time zone of a `[data]` table. Raises ValueError for one that is not known."""
    if name not in zoneinfo.available_timezones():
        raise ValueError(f"is no IANA time zone{_nearest(name, zoneinfo.available_timezones())}")
    return name


class DataBase(Table):
    files: str | list[str] = Field(description="CSV, TSV (also gz) or Parquet: a path, a glob, or several")
    timezone: str = Field("UTC", description="IANA name; of times without an offset, and of days and weeks")
    start: datetime | None = Field(None, description="first instant that counts; earlier rows are outside the span")
    end: datetime | None = Field(None, description="first instant that no longer counts")
    repeated_hour: Literal["first", "second", "reject"] = Field(
        "first", description="which pass of the hour that autumn repeats is meant, where the data do not tell"
    )
    max_rejected_share: Share = Field(0.05, description="the run stops when more of the rows are unusable")
    quarantine_examples: int = Field(20, ge=0, le=1000, description="rejected rows to keep for each reason")
    origin: str = Field("", description="where the data come from; shown in the report")
    licence: str = Field("", description="on what terms; shown in the report")
    zones: Zones | None = Field(None, description="a table of the known nodes")

    _zone = field_validator("timezone")(known_zone)


class TripData(DataBase):
    """Raw trips: one row a trip. They become flows between zones, and inflow and outflow of each zone."""

    kind: Literal["trips"]
    columns: TripColumns = Field(description="which columns mean what")
    interval: str = Field("1h", pattern=INTERVAL, description="trips are counted in steps of this length")
    max_trip_hours: float = Field(24, gt=0, description="longer trips are rejected")


class OdData(DataBase):
    """Origin-destination counts: one row per interval, source and target."""

    kind: Literal["od"]
    columns: OdColumns = Field(OdColumns(), description="which columns mean what")
    interval: str = Field("1h", pattern=INTERVAL, description="counts are added up in steps of this length")


class Edges(Table):
    """What moved between the series, step by step: edges for models that read them. One row per time and pair."""

    files: str | list[str] = Field(description="CSV, TSV (also gz) or Parquet: a path, a glob, or several")
    columns: OdColumns = Field(OdColumns(), description="which columns mean what; the ends are ids of series")


class SeriesBase(DataBase):
    interval: str = Field("auto", pattern=INTERVAL, description="15m, 1h, 1d, 1w, 1mo, ...; auto finds it in the data")
    values: Literal["counts", "real"] = Field("real", description="counts are never negative; real values may be")
    difference: bool = Field(False, description="turn running totals into what came anew in each step")
    unobserved: list[Unobserved] = Field([], description="stretches in which values mean 'not reported'")
    edges: Edges | None = Field(None, description="what moved between the series")


class LongData(SeriesBase):
    """Series in long format: one row per series and time."""

    kind: Literal["long"]
    columns: LongColumns = Field(LongColumns(), description="which columns mean what")


class WideData(SeriesBase):
    """Series in wide format: one row per time, one column per node; one file per variable where there are several."""

    kind: Literal["wide"]
    files: str | list[str] | dict[str, str] = Field(  # type: ignore[assignment]
        description="CSV, TSV (also gz) or Parquet: a path, a glob, several, or a table of one for each variable"
    )
    columns: WideColumns = Field(WideColumns(), description="which columns mean what")
    variable: str = Field("y", description="the name of the variable when there is only one")


Data = Annotated[TripData | OdData | LongData | WideData, Field(discriminator="kind")]

# ---------------------------------------------------------------- [task]


class Split(Table):
    """Consecutive ranges in time, oldest first: training is what validation and test leave.

    A number below 1 is a share of the steps, a whole number from 1 is a count of steps.
    """

    validation: float = Field(0.1, gt=0, description="training stops and intervals are calibrated on it")
    test: float = Field(0.2, gt=0, description="the backtest runs over it")


class Task(Table):
    """What is forecast from what. `auto` is worked out from the interval and the length of the data, and recorded."""

    target: list[str] | Literal["all"] = Field("all", description="the variables to forecast")
    window: Steps = Field("auto", description="past steps that the model reads")
    horizon: Steps = Field("auto", description="steps to forecast")
    stride: int = Field(1, ge=1, description="steps between the starts of training samples")
    busiest: int | None = Field(None, ge=1, description="keep the nodes with the largest training totals")
    country: str | None = Field(None, description="ISO 3166 code (with subdivision: US-NY) whose holidays count")
    forecast: Literal["nodes", "flows"] = Field(
        "nodes", description="`flows`: the trips from each of the chosen nodes to each, at most 100 nodes; trips and od"
    )
    split: Split = Field(Split(), description="training, validation and test")


# ---------------------------------------------------------------- [model]


Predict = Literal["auto", "value", "change", "pace"]
PREDICT: Any = Field(
    "auto",
    description="the value; its change from the last one; or, for series that outgrow their past, that change in mean "
    "changes of the window (pace); auto takes value or change, what varies less in training",
)
PROFILE: Any = Field(
    64,
    ge=0,
    description="width of the perceptron of the target's calendar (none with a pace); 0: none, as in the paper",
)


class ModelTable(Table):
    name: str

    @property
    def label(self) -> str:
        """What a table calls it."""
        return self.name

    @property
    def leaky(self) -> bool:
        """Whether its training sees the test range, as that of ReGENN's paper did."""
        return False


class RecurrentModel(ModelTable):
    """LSTM, GRU, BiLSTM, BiGRU of the private-mobility paper: one recurrence over all nodes, one dense output."""

    name: Literal["lstm", "gru", "bilstm", "bigru"] = "gru"
    hidden: int = Field(128, ge=1, description="width of the state")
    layers: int = Field(1, ge=1, description="recurrent layers on top of each other")
    dropout: float = Field(0.2, ge=0, lt=1, description="share of the state that is dropped in training")
    predict: Predict = PREDICT
    profile: int = PROFILE


class DLinearModel(ModelTable):
    """Trend and remainder, one linear map each, shared by all nodes (Zeng et al. 2023)."""

    name: Literal["dlinear"]
    kernel: int = Field(25, ge=3, description="steps of the moving average that is the trend")
    predict: Literal["value", "pace"] = Field(
        "value", description="the value, or, for series that outgrow their past, its distance in changes of the window"
    )


class StidModel(ModelTable):
    """Spatial and temporal identities and a residual perceptron (Shao et al. 2022)."""

    name: Literal["stid"]
    hidden: int = Field(32, ge=1, description="width of each of the four parts")
    layers: int = Field(3, ge=1, description="residual layers")
    dropout: float = Field(0.15, ge=0, lt=1, description="share that is dropped in training")


class RegennModel(ModelTable):
    """ReGENN: recurrences between two layers that learn a graph over variables (Spadon et al. 2022)."""

    name: Literal["regenn"]
    mode: Literal["default", "reference"] = Field(
        "default",
        description="`reference` trains as the paper's code, for comparison: a graph summed up over the first "
        "epoch, a stale target graph, one window a step and batch_size nodes (auto: 32), the loss on the data's scale",
    )
    normalisation: Literal["training", "leaky"] = Field(
        "training",
        description="`leaky` scales by the largest value of the whole series, the test range too, as the paper could; "
        "in mode `reference` alone, and never champion",
    )
    samples: Literal["auto", "nodes", "none"] = Field(
        "auto",
        description="`nodes`: they happen together and their variables are the graph; `none`: all series are the graph"
        "; auto is nodes where there are two variables or more",
    )
    gate: Literal["lstm", "gru", "rnn"] = Field("lstm", description="the recurrence over the variables")
    bidirectional_gate: bool = Field(False, description="whether it also runs backwards")
    sequencer: Literal["lstm", "gru", "rnn", "none"] = Field("lstm", description="the recurrence over the horizon")
    bidirectional_sequencer: bool = Field(False, description="whether it also runs backwards")
    encoder: int = Field(64, ge=0, description="width of the attention layer; 2048 in the paper, 0: none")
    attention_axis: Literal["sample", "variable"] = Field("sample", description="what attention runs over")
    attention_dropout: float = Field(0.0, ge=0, lt=1, description="above 0 memory grows with the square of the samples")
    graph_evolution: bool = Field(True, description="false is the paper's ablation")
    autoregression: bool = Field(True, description="add a linear map of the window; it can continue a line")
    bias: bool = Field(True, description="of all but the encoder, which has its own")
    dropout: float = Field(0.0, ge=0, lt=1, description="share that is dropped in training; 0.1 in the paper")
    output: Literal["auto", "relu", "identity"] = Field(
        "auto", description="what ends the network; auto is relu for values that are never negative in training"
    )
    predict: Predict = PREDICT
    profile: int = PROFILE

    @property
    def label(self) -> str:
        if self.mode == "default":
            return self.name
        return f"{self.name} (reference, leaky)" if self.leaky else f"{self.name} (reference)"

    @property
    def leaky(self) -> bool:
        return self.normalisation == "leaky"

    @model_validator(mode="before")
    @classmethod
    def reference_is_the_papers(cls, raw: Any) -> Any:
        """What a spec leaves out is as in the paper's code."""
        paper = {
            "encoder": 2048,
            "autoregression": False,
            "bias": False,
            "attention_dropout": 0.1,
            "dropout": 0.1,
            "predict": "value",
            "profile": 0,
        }
        return {**paper, **raw} if isinstance(raw, dict) and raw.get("mode") == "reference" else raw

    @model_validator(mode="after")
    def ways_fit_the_mode(self) -> Self:
        if self.mode == "default" and self.normalisation == "leaky":
            raise ValueError("normalisation 'leaky' exists in mode 'reference' alone, to compare with the paper")
        if self.mode == "reference" and self.predict != "value":
            raise ValueError(f"mode 'reference' forecasts the value itself; predict {self.predict!r} is for 'default'")
        if self.mode == "reference" and self.profile:
            raise ValueError("mode 'reference' knows no calendar; leave out profile")
        if self.output == "relu" and self.predict in ("change", "pace"):
            raise ValueError(f"a {self.predict} has both signs, which output 'relu' can't give; set output 'identity'")
        return self


class GraphModel(ModelTable):
    """What the models have in common that read a graph of the nodes."""

    graph: Literal["flows", "flows-mean", "correlation", "distance", "nearest", "given"] = Field(
        "flows",
        description="`flows`: what moves between the nodes, another graph at every step, of kind trips or od or from "
        "[data.edges]; `flows-mean`: its mean over training; `correlation` of the series in training; `distance` and "
        "`nearest` by the coordinates of the zone table; `given`: a list of edges",
    )
    edges: str | None = Field(
        None, description="of graph `given`: a file with the columns source, target and, where edges differ, weight"
    )
    threshold: float | None = Field(
        None,
        gt=0,
        le=1,
        description="least weight of an edge: of graph `correlation` (0.5 by default), and of the kernel of `distance` "
        "(0.1)",
    )
    sigma_km: float | None = Field(
        None, gt=0, description="width of the kernel of graph `distance`; the standard deviation of all by default"
    )
    neighbours: int = Field(5, ge=1, description="of each node in graph `nearest`")
    edge_delay: int | Literal["auto"] = Field(
        "auto",
        description="steps until a flow is known; auto is what the longest trip (data.max_trip_hours) takes, as a trip "
        "is counted when it begins and its target is known when it ends, and 0 for other data",
    )
    lags: int = Field(4, ge=1, description="newest values of a node that are its features at a step")
    hidden: int = Field(32, ge=1, description="width of the embeddings")
    layers: int = Field(2, ge=1, description="graph convolutions on top of each other")
    dropout: float = Field(0.1, ge=0, lt=1, description="share that is dropped in training before the output")
    predict: Predict = PREDICT
    profile: int = PROFILE

    @field_validator("edge_delay", mode="before")
    @classmethod
    def is_a_delay(cls, delay: Any) -> Any:
        if delay != "auto" and (not isinstance(delay, int) or isinstance(delay, bool) or delay < 0):
            raise ValueError("is no number of steps; allowed: a whole number from 0, or 'auto'")
        return delay

    @model_validator(mode="after")
    def edges_are_given_where_read(self) -> Self:
        if (self.graph == "given") != (self.edges is not None):
            raise ValueError("graph 'given' and the key edges, its file, go together")
        return self

    @property
    def is_dynamic(self) -> bool:
        return self.graph == "flows"

    @property
    def label(self) -> str:
        return f"{self.name} ({self.graph})"


class EvolveGcnModel(GraphModel):
    """EvolveGCN: graph convolutions whose weights evolve from step to step (Pareja et al. 2020)."""

    name: Literal["evolvegcn"]
    variant: Literal["H", "O"] = Field(
        "H", description="H evolves by what the nodes show; O by itself alone, so that it is a static GCN (see docs)"
    )
    rnn: Literal["gru", "lstm"] = Field("gru", description="the cell that evolves the weights")
    remedy: Literal["none", "closed_gate", "residual", "keep_norm"] = Field(
        "keep_norm", description="against weights that shrink to nothing on the way"
    )
    snapshots: int = Field(8, ge=1, description="newest steps of the window over which the weights evolve")

    @property
    def label(self) -> str:
        return f"{self.name}-{self.variant} ({self.graph})"

    @model_validator(mode="after")
    def remedy_fits_the_cell(self) -> Self:
        if self.remedy == "closed_gate" and self.rnn == "lstm":
            raise ValueError("the LSTM has no update gate to close; choose remedy 'residual' or 'keep_norm'")
        return self


class GcnModel(GraphModel):
    """A GCN with ordinary weights on the newest step's graph (Kipf and Welling 2017): EvolveGCN's yardstick."""

    name: Literal["gcn"]


class GraphRecurrentModel(GraphModel):
    """Messages between the nodes at every step, an aggregation chosen by name, and a GRU along the steps."""

    name: Literal["graph-recurrent"]
    aggregation: Literal["mean", "sum", "max", "pna", "gru", "lcm"] = Field(
        "lcm", description="what a node makes of its neighbours' messages; lcm learns it (Ong and Veličković 2022)"
    )
    assoc_weight: float = Field(
        0.01,
        ge=0,
        allow_inf_nan=False,
        description="of lcm: weight in the loss of how far the result depends on the tree it is folded over; 1 in the "
        "paper, for runs of a million steps",
    )
    snapshots: int = Field(4, ge=1, description="newest steps of the window at which messages are passed")
    hidden: int = Field(64, ge=1, description="width of states and messages")
    layers: int = Field(1, ge=1, description="rounds of messages at a step")

    @property
    def label(self) -> str:
        return f"{self.name}-{self.aggregation} ({self.graph})"


class FlowModel(ModelTable):
    """EvolveGCN with a head for pairs (Pareja et al. 2020), for `task.forecast = "flows"`; it has its own loss."""

    name: Literal["evolvegcn-flows"]
    variant: Literal["H", "O"] = Field("H", description="O reads the network of the last step alone: a static GCN")
    graph: Literal["window", "frozen"] = Field(
        "window", description="the network of each past step, or that of the training mean at every step"
    )
    likelihood: Literal["poisson", "negative_binomial", "zero_inflated", "mse"] = Field(
        "negative_binomial", description="of the counts; mse is the squared error of log(1 + flow)"
    )
    hidden: int = Field(32, ge=1, description="width of both graph layers and of the head")
    profile: int = Field(64, ge=0, description="width of the perceptron of the usual day and week; 0: none")

    @property
    def label(self) -> str:
        return self.name if self.variant == "H" else f"{self.name}-{self.variant}"


Model = Annotated[
    RecurrentModel
    | DLinearModel
    | StidModel
    | RegennModel
    | EvolveGcnModel
    | GcnModel
    | GraphRecurrentModel
    | FlowModel,
    Field(discriminator="name"),
]

# ---------------------------------------------------------------- the rest


class Training(Table):
    epochs: int = Field(50, ge=1, description="passes over the training samples, at most")
    batch_size: BatchSize = Field(
        "auto", description="samples in an optimizer step; auto is 64, and fewer where an epoch would have few steps"
    )
    learning_rate: float = Field(2e-3, gt=0, description="of AdamW at the start; it falls along a cosine")
    weight_decay: float = Field(0.0, ge=0)
    loss: Literal["mae", "mse", "huber"] = Field(
        "mae", description="on observed targets; a model with a likelihood has its own, and leaves this to yardsticks"
    )
    loss_scale: Literal["series", "data"] = Field(
        "series",
        description="every series counts alike, in its own spread; or in the data's unit, where the largest rule",
    )
    patience: int = Field(8, ge=1, description="epochs without a better validation loss before training stops")
    gradient_clip: float | None = Field(1.0, gt=0, description="the largest norm of a gradient")
    seed: int = Field(0, ge=0, description="the same spec, data and seed give the same weights")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto is the GPU where there is one")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="bfloat16 is mixed precision")
    compile: bool = Field(False, description="torch.compile; minutes at the start, worth it for long runs")
    threads: int = Field(1, ge=1, description="CPU threads; 1 is fastest on a shared machine")
    checkpoint_minutes: float = Field(1.0, ge=0, description="how much work a kill may cost; 0 saves every step")


# ---------------------------------------------------------------- [evaluation]


Baseline = Literal[
    "naive",
    "linear",
    "seasonal_naive_day",
    "seasonal_naive_week",
    "seasonal_naive_year",
    "historical_mean",
    "ridge",
    "dlinear",
    "stid",
    "gcn",
]


class Evaluation(Table):
    baselines: list[Baseline] = Field(
        [name for name in get_args(Baseline) if name != "linear"],
        description="the yardsticks; those that do not fit the data are left out. `linear` goes on as the last step "
        "went: hard to beat on running totals, and so far off where values swing that it has to be asked for. `gcn` is "
        "the static GCN on the model's own graph, of models that read one; of `evolvegcn-flows` it is variant O",
    )
    interval_level: float = Field(0.9, gt=0.5, le=0.99)  # as far as the calibration reaches
    intervals: Literal["split", "adaptive"] = Field("split", description="which conformal variant is served")
    stride: int = Field(1, ge=1, description="steps between the cutoffs of the backtest")
    refits: int = Field(1, ge=1, description="how often the models are fitted anew along the test range")


class Registry(Table):
    model: str | None = Field(None, description="the registered model's name; the experiment's name by default")
    metric: Literal["mae", "rmse", "mase"] = Field("mae", description="what champion and challenger are compared by")
    min_improvement: Share = Field(0.01, description="a challenger must be better by this share to become champion")
    tracking_uri: str | None = Field(
        None, description="an MLflow store; MLFLOW_TRACKING_URI or the local one by default"
    )


class Experiment(Table):
    """What the file of any experiment holds, of series or of a graph."""

    default_model: ClassVar[str]

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="lower case, digits, - and _")
    description: str = Field("", description="one sentence for the report")
    folder: Path = Field(Path("."), exclude=True)  # where its relative paths start

    def digest(self, *tables: str) -> str:
        """A hash of these tables (all of them when none is named): the same settings, the same digest."""
        content = self.model_dump(mode="json")
        chosen = {table: content[table] for table in tables} if tables else content
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:16]


class Spec(Experiment):
    """A whole experiment."""

    default_model = "gru"

    data: Data = Field(description="what is read")
    task: Task = Field(Task(), description="what is forecast from what")
    model: Model = Field(RecurrentModel(), description="by which network")
    training: Training = Field(Training(), description="how it is fitted")
    evaluation: Evaluation = Field(Evaluation(), description="how it is judged")
    registry: Registry = Field(Registry(), description="where its versions go")
    privacy: Privacy | None = Field(None, description="what is promised to the people in the data; nothing by default")

    @model_validator(mode="before")
    @classmethod
    def model_has_a_name(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and isinstance(raw.get("model"), dict):
            return {**raw, "model": {"name": cls.default_model, **raw["model"]}}
        return raw

    @model_validator(mode="before")
    @classmethod
    def reference_is_trained_as_in_the_paper(cls, raw: Any) -> Any:
        """What [training] leaves out, where it decides a step."""
        if isinstance(raw, dict) and isinstance(raw.get("model"), dict) and raw["model"].get("mode") == "reference":
            paper = {"learning_rate": 1e-3, "gradient_clip": 10.0}
            return {**raw, "training": {**paper, **raw.get("training", {})}}
        return raw

    @model_validator(mode="after")
    def model_and_task_go_together(self) -> Self:
        """Raises ValueError where pairs are asked for, or needed, and can't be had; and for what a model can't do."""
        if self.task.forecast == "flows":
            if not isinstance(self.data, TripData | OdData):
                raise ValueError(f"task.forecast 'flows' needs data of kind trips or od, not {self.data.kind}")
            if self.task.target != "all":
                raise ValueError("task.target chooses among inflow and outflow; leave it out where flows are forecast")
        elif isinstance(self.model, FlowModel):
            raise ValueError(f"model {self.model.name!r} forecasts pairs; set task.forecast = 'flows'")
        if isinstance(self.model, FlowModel) and (self.training.compile or self.training.precision != "float32"):
            raise ValueError(
                f"training.compile and precision are not for {self.model.name!r}: its graphs are sparse; leave them out"
            )
        if isinstance(self.model, GraphRecurrentModel) and self.training.compile:
            raise ValueError(f"training.compile is not for {self.model.name!r}: its edges differ from batch to batch")
        return self

    @model_validator(mode="after")
    def privacy_is_claimable(self) -> Self:
        """A promise that the data can't support is refused."""
        if isinstance(self.privacy, ReleasePrivacy):
            from pipelines.privacy.claimable import require_claimable  # which is made of the tables above

            require_claimable(self, self.privacy)
        return self

    @property
    def registered_name(self) -> str:
        return self.registry.model or self.name


# ---------------------------------------------------------------- reading

E = TypeVar("E", bound=Experiment)


def load_spec(path: str | Path) -> "Spec | GraphSpec":
    """The experiment in the TOML file at `path`, or the bundled one of that name; a GraphSpec where the data are edges.

    Raises SpecError with one line for every mistake.
    """
    file = Path(path)
    if not file.exists() and (BUNDLED / f"{path}.toml").exists():
        file = BUNDLED / f"{path}.toml"
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(bundled_names())
        raise SpecError(
            f"there is no spec at {path}; write one with `flockcast init`, or use a bundled one: {known}"
        ) from None
    except IsADirectoryError:
        raise SpecError(f"{path} is a folder; name the TOML file in it") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{file}: not valid TOML: {error}") from None
    return parse_any(raw, folder=file.resolve().parent, called=str(path))


def bundled_names() -> list[str]:
    return sorted(file.stem for file in BUNDLED.glob("*.toml"))


def parse_any(raw: dict[str, Any], *, folder: Path, called: str = "spec") -> "Spec | GraphSpec":
    """The experiment of series, or of a dynamic graph where the data are edges. Raises SpecError."""
    from pipelines.graph_task.spec import GraphSpec  # which is made of the tables above

    data = raw.get("data")
    is_graph = isinstance(data, dict) and data.get("kind") == "edges"
    return _parse(GraphSpec, raw, folder, called) if is_graph else _parse(Spec, raw, folder, called)


def parse_spec(raw: dict[str, Any], *, folder: Path, called: str = "spec") -> Spec:
    """An experiment of series. Raises SpecError."""
    return _parse(Spec, raw, folder, called)


def _parse(kind: type[E], raw: dict[str, Any], folder: Path, called: str) -> E:
    try:
        return kind.model_validate({**raw, "folder": folder})
    except ValidationError as error:
        lines = sorted({_line(detail, raw, kind) for detail in error.errors()})
        raise SpecError("\n".join(f"{called}: {line}" for line in lines)) from None


def _line(detail: ErrorDetails, raw: dict[str, Any], kind: type[Experiment]) -> str:
    place = [part for part in detail["loc"] if part not in UNION_TAGS]
    key = ".".join(str(part) for part in place)
    value = detail["input"]
    match detail["type"]:
        case "extra_forbidden":
            siblings = _allowed(place[:-1], raw, kind)
            return (
                f"{key}: unknown key{_nearest(str(place[-1]), siblings)}; allowed here: {', '.join(sorted(siblings))}"
            )
        case "missing":
            return f"{key}: missing; this key has no default"
        case "literal_error" | "union_tag_invalid":
            tag = detail["ctx"].get("discriminator", "").strip("'")
            given = value.get(tag) if tag and isinstance(value, dict) else value
            allowed = str(detail["ctx"].get("expected") or detail["ctx"].get("expected_tags"))
            names = [name.strip().strip("'") for name in allowed.replace(" or ", ", ").split(",")]
            names += ["edges"] if place == ["data"] else []  # whose specs have a schema of their own
            where = f"{key}.{tag}" if tag else key
            return f"{where}: {given!r} is not allowed{_nearest(str(given), names)}; allowed: {', '.join(names)}"
        case "union_tag_not_found":
            tag = detail["ctx"]["discriminator"].strip("'")
            allowed = str(detail["ctx"].get("expected_tags") or KINDS.get(key, "see docs/spec.md"))
            return f"{key}.{tag}: missing; allowed: {allowed}"
        case "value_error" if isinstance(value, dict):  # of a whole table, whose keys don't go together
            return f"{key}: {detail['ctx']['error']}" if key else str(detail["ctx"]["error"])
        case "value_error":
            return f"{key}: {value!r} {detail['ctx']['error']}"
        case "string_pattern_mismatch" if detail["ctx"]["pattern"] == EDGE_INTERVAL:
            return f"{key}: {value!r} is no length of a step; write seconds ('1200000s'), '1h', '1d', '1mo', or 'rank'"
        case "string_pattern_mismatch" if detail["ctx"]["pattern"] == INTERVAL:
            return f"{key}: {value!r} is no interval; write a number and a unit, such as '30m', '1h', '1d', '1w', '1mo'"
        case _:
            return f"{key}: {value!r}: {detail['msg'][0].lower() + detail['msg'][1:]}"


KINDS = {
    "privacy": "release, dp_sgd",
    "data": "trips, od, long, wide, edges",
    "task": "links, edge_labels, node_labels",
}
UNION_TAGS = (
    {"trips", "od", "long", "wide", "lstm", "gru", "bilstm", "bigru", "dlinear", "stid", "regenn"}
    | {"evolvegcn", "gcn", "graph-recurrent", "evolvegcn-flows", "gcn_gru", "links", "edge_labels", "node_labels"}
    | {"release", "dp_sgd"}
    | {"list[str]", "str", "int", "float", "constrained-str", "dict[str,str]", "dict[str,float]"}
)


def _allowed(place: list[Any], raw: dict[str, Any], kind: type[Experiment]) -> list[str]:
    """The keys that the table at `place` may have, the union members chosen as the file chose them."""
    table: type[BaseModel] = kind
    here: Any = {**raw, "model": {"name": kind.default_model, **raw.get("model", {})}}
    for part in place:
        here = here[part] if isinstance(here, (dict, list)) else {}
        if isinstance(part, int):
            continue
        members = _tables(table.model_fields[part].annotation)
        table = next((t for t in members if _matches(t, here)), members[0])
    return [name for name in table.model_fields if name != "folder"]


def _tables(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [table for part in get_args(annotation) for table in _tables(part)]


def _matches(table: type[BaseModel], given: Any) -> bool:
    for tag in ("kind", "name", "mechanism"):
        if tag in table.model_fields and isinstance(given, dict):
            return given.get(tag) in get_args(table.model_fields[tag].annotation)
    return True


def _nearest(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
