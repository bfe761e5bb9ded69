"""Another way to compute what a module computes, for a while."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def forward_of(module: nn.Module, way: Callable[..., Any]) -> Iterator[None]:
    """While it is open, `module` is called by `way`; its weights and state dict are untouched."""
    module.__dict__["forward"] = way  # before the class's own in the look-up, and no part of the module's state
    try:
        yield
    finally:
        module.__dict__.pop("forward", None)
