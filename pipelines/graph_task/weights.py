"""How the weights of a network on a dynamic graph evolve."""

import numpy as np

from models.evolvegcn import watched_norms
from pipelines.graph_task.network import GraphNetwork
from pipelines.graph_task.prepare import Prepared
from pipelines.graph_task.spec import GraphModel
from pipelines.results import WeightCourse


def weight_course(prepared: Prepared, model: GraphModel, network: GraphNetwork) -> WeightCourse | None:
    """Their norms over what is read up to the last sample before the test range: its window, or all of the history
    where the state is carried. None for a network that evolves none.
    """
    last = prepared.ranges.validation_end - 1
    frames = prepared.frames(model, is_local=network.is_local)
    with watched_norms(network) as noted:
        for _ in network.judged(frames, range(last, last + 1)):
            pass
    courses = {name: course for name, course in noted.items() if len(course) > 1}
    return WeightCourse(tuple(courses), np.array(list(courses.values()))) if courses else None
