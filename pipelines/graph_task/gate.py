"""Who becomes champion of a graph task: the candidate, if it beats the present one on the same steps by the margin."""

import math

from pipelines.gate import Verdict
from pipelines.graph_task.artefact import GraphArtefact, features_read, zone_of
from pipelines.graph_task.evaluate import Evaluated, judge_classes, judge_links
from pipelines.graph_task.features import features_of
from pipelines.graph_task.frames import Frames
from pipelines.graph_task.ingest import step_name
from pipelines.graph_task.network import GraphNetwork
from pipelines.graph_task.prepare import Prepared
from pipelines.graph_task.spec import GraphSpec


def judge(
    spec: GraphSpec, prepared: Prepared, evaluated: Evaluated, present: GraphArtefact | None, version: str
) -> Verdict:
    """`present` is the champion and `version` its number; both are scored anew on the steps that neither has learnt."""
    if present is None:
        return Verdict(True, "champion: the first version of this model")
    samples = unseen(prepared, present)
    difference = _difference(prepared, present, samples)
    if difference or samples is None:
        return Verdict(
            False, f"challenger: can't be compared with champion {version}, {difference}; promote it by hand"
        )
    metric, asked = spec.metric, spec.registry.min_improvement
    network = evaluated.fitted.network
    ours = _score(network, prepared.frames(spec.model, is_local=network.is_local), prepared, samples, metric)
    theirs = champion_score(present, prepared, samples, metric)
    where = "the same steps" if samples == prepared.ranges.test else f"the {len(samples)} steps after its training"
    figures = f"{metric} {ours:.4g} against {theirs:.4g} of champion {version} on {where}"
    if not math.isfinite(ours) or not math.isfinite(theirs):
        return Verdict(False, f"challenger: {figures}, which says nothing; promote it by hand")
    gain = ours / theirs - 1 if theirs > 0 else math.inf if ours > 0 else 0.0
    if gain > 0 and gain >= asked:
        return Verdict(True, f"champion: {figures}, {gain:.1%} better (asked: {asked:.1%})")
    word = f"{gain:.1%} better" if gain > 0 else f"{-gain:.1%} worse" if gain < 0 else "no better"
    return Verdict(False, f"challenger: {figures}, {word} (asked: {asked:.1%} better)")


def unseen(prepared: Prepared, present: GraphArtefact) -> range | None:
    """The test samples whose targets lie after all that the champion has learnt from; None where that can't be told."""
    names = [step_name(step) for step in prepared.snapshots.clock]
    if present.config.trained_until not in names:
        return None
    test = prepared.ranges.test
    first = names.index(present.config.trained_until) + 1 - prepared.ahead
    return range(max(test.start, first), test.stop)


def champion_score(present: GraphArtefact, prepared: Prepared, samples: range, metric: str) -> float:
    """With the champion's own features and window."""
    features, absent = features_of(present.model, present.schema)
    network = present.network
    frames = Frames(prepared.snapshots, features, absent, is_local=network.is_local, keep=network.window + 1)
    return _score(network, frames, prepared.remembering(present.task.window), samples, metric)


def _score(network: GraphNetwork, frames: Frames, prepared: Prepared, samples: range, metric: str) -> float:
    judge_all = judge_links if prepared.is_about_links else judge_classes
    scores, _ = judge_all({"model": (network, frames)}, prepared, [], samples)
    return float(scores[metric][0])


def _difference(prepared: Prepared, present: GraphArtefact, samples: range | None) -> str | None:
    """Why the two can't be measured by the same task; None where they can."""
    config, snapshots = present.config, prepared.snapshots
    here = {
        "the task": (config.task["kind"], prepared.task.kind),
        "the interval": (config.interval, snapshots.interval),
        "the time zone": (config.timezone, zone_of(prepared)),
        "the direction of edges": (config.is_directed, snapshots.is_directed),
        "the classes": (config.classes, [] if prepared.node_classes is None else list(prepared.classes)),
        "the features of a node": (features_read(present), list(snapshots.features) if features_read(present) else []),
    }
    for what, (theirs, ours) in here.items():
        if theirs != ours:
            return f"{what} differs"
    if samples is None:
        return f"it was trained until {config.trained_until}, which is no step of these snapshots"
    if len(samples) == 0:
        return f"it has seen the test range, since it was trained until {config.trained_until}"
    if not prepared.is_about_links and not any(len(prepared.labelled(sample).label) for sample in samples):
        return "nothing has a class in the steps after its training"
    if present.task.window > prepared.ranges.validation_end:
        return "its window is longer than the history before the test range"
    return None
