"""Where the noise and the coins of a private training come from.

Whoever knows the noise can take it off again, so it comes from a cryptographic generator whose key is the operating
system's, new for every draw, and is kept nowhere.
The one with a seed is for tests, and says so: a ledger that is not for tests refuses it. Numbers are floating point
numbers, whose gaps can tell something of what noise was added to (Mironov, 2012); this is not defended against.
"""

import math
import os
from typing import Literal, Protocol

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from torch import Tensor

Kind = Literal["os_csprng", "test"]
STEP = 2.0**-53  # a double below 1 has so fine a grid


class Randomness(Protocol):
    """Independent numbers in double precision, on the CPU."""

    @property
    def kind(self) -> Kind: ...

    def uniform(self, count: int) -> Tensor:
        """In [0, 1)."""
        ...

    def normal(self, count: int) -> Tensor:
        """Of mean 0 and variance 1."""
        ...


class SystemRandomness:
    """The key stream of AES-256 in counter mode, keyed by the operating system for every draw.

    The system's own generator is as good and ten times slower, which a training step would feel.
    """

    kind: Kind = "os_csprng"

    def uniform(self, count: int) -> Tensor:
        bits = np.frombuffer(_key_stream(8 * count), dtype=np.uint64) >> np.uint64(11)  # 53 of them
        return torch.from_numpy(bits.astype(np.float64) * STEP)

    def normal(self, count: int) -> Tensor:
        """By Box and Muller, two at a time; the largest there can be is 8.57."""
        pairs = (count + 1) // 2
        u = self.uniform(2 * pairs)
        radius = (u[:pairs].neg_().add_(1).log_() * -2).sqrt_()  # of a number in (0, 1]
        angle = u[pairs:].mul_(2 * math.pi)
        found = torch.stack([angle.cos(), angle.sin_()]).mul_(radius)
        return found.flatten()[:count]


def _key_stream(count: int) -> bytes:
    cipher = Cipher(algorithms.AES256(os.urandom(32)), modes.CTR(os.urandom(16)))
    return cipher.encryptor().update(bytes(count))


class SeededRandomness:
    """The same numbers for the same seed."""

    kind: Kind = "test"

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def uniform(self, count: int) -> Tensor:
        return torch.rand(count, generator=self._generator, dtype=torch.float64)

    def normal(self, count: int) -> Tensor:
        return torch.randn(count, generator=self._generator, dtype=torch.float64)
