"""A clock that moves only when a test moves it."""

from datetime import datetime, timedelta


class HeldClock:
    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def forward(self, seconds: float) -> None:
        self.now_s += seconds


class HeldWallClock:
    """The time of day, as a datetime.

    Each reading is a millisecond after the last, so that rows have an order.
    """

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        self.forward(0.001)
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
