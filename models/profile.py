"""What the calendar alone says of a series: its usual course over the day and the week."""

from torch import Tensor, nn

from models.clock import harmonics


class Profile(nn.Module):
    """What each series usually is at this time of day and week: [B, H, 3] to [B, H, N, F], zero at the start."""

    ORDERS = 4

    def __init__(self, hidden: int, nodes: int, variables: int) -> None:
        super().__init__()
        self.shape = (nodes, variables)
        self.inner = nn.Linear(4 * self.ORDERS + 2, hidden)
        self.outer = nn.Linear(hidden, nodes * variables)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, calendar: Tensor) -> Tensor:
        return self.outer(self.inner(harmonics(calendar, self.ORDERS)).relu()).unflatten(-1, self.shape)
