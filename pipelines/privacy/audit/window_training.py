"""What the audit of a training on windows does to it, and how it scores: losses before less losses after."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from data.windows import Batch
from models.forecaster import Scaled
from pipelines.prepare import Prepared
from pipelines.spec import Spec
from pipelines.train import LOSSES, Run, new_network

CHUNK = 256


@torch.no_grad()
def sample_losses(network: Scaled, batch: Batch, *, loss: str) -> npt.NDArray[np.float64]:
    """The loss of each sample of `batch` by itself, in standard deviations of each series: [B]."""
    network = network.cpu().eval()
    found = []
    for first in range(0, len(batch.x), CHUNK):
        x, mask, calendar, y, y_mask = (
            part[first : first + CHUNK] for part in (batch.x, batch.mask, batch.calendar, batch.y, batch.y_mask)
        )
        each = LOSSES[loss](network.scaled(x, mask, calendar), network.scaler.scale(y), reduction="none")
        found.append((each * y_mask).flatten(1).sum(1) / y_mask.flatten(1).sum(1).clamp(min=1))
    return torch.cat(found).double().numpy()


def train_unprotected(spec: Spec, prepared: Prepared, extra: Batch, *, say: Callable[[str], None]) -> Scaled:
    """The ordinary training with `extra` samples, kept nowhere: the control that an audit must be able to refute.

    It goes on to the last epoch, whatever the validation says: how much is remembered grows with the epochs.
    """
    training = spec.training.model_copy(update={"patience": spec.training.epochs, "checkpoint_minutes": 1e9})
    torch.set_num_threads(training.threads)
    torch.manual_seed(training.seed)
    network = new_network(prepared, spec.model, prepared.ranges.train_end)
    with tempfile.TemporaryDirectory() as scratch:
        run = Run(prepared, network, spec.model, training, prepared.ranges, Path(scratch), say, extra)
        run.to_the_end("audit")
    return network
