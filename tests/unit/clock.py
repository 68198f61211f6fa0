"""A clock that stands still unless a test moves it."""

import gc

import pytest


class Clock:
    """A clock that only calls and synchronises move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, call_s: float, sync_s: float = 0.0) -> None:
        self.now = 0.0
        self.calls = 0
        self.call_s, self.sync_s = call_s, sync_s
        self.collecting: list[bool] = []
        monkeypatch.setattr("time.perf_counter", lambda: self.now)

    def call(self) -> None:
        self.calls += 1
        self.collecting.append(gc.isenabled())
        self.now += self.call_s

    def synchronize(self) -> None:
        self.now += self.sync_s
