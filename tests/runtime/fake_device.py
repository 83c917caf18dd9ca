"""A device whose streams run late and in random order, as far as events allow."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(eq=False)
class FakeStream:
    """Work that waits to be run, in order."""

    name: str
    queue: deque = field(default_factory=deque)

    def wait_event(self, event: "FakeEvent") -> None:
        self.queue.append(("wait", event, event.recorded))


class FakeEvent:
    def __init__(self, device: "FakeDevice") -> None:
        self._device = device
        self.recorded = 0  # how often it was put into a stream
        self.times: list[int] = []  # when each of these was reached

    def record(self, stream: FakeStream) -> None:
        self.recorded += 1
        stream.queue.append(("record", self, self.recorded))

    def done(self, number: int) -> bool:
        return len(self.times) >= number

    def synchronize(self) -> None:
        """Run streams until the event is reached, and no further: the rest may still be running."""
        self._device.log.append("host waits")
        while not self.done(self.recorded):
            self._device.advance()

    def query(self) -> bool:
        """Whether the event was reached; a stream may have moved on since the last question."""
        device = self._device
        if any(stream.queue and not device.blocked(stream) for stream in device.streams):
            device.advance()
        return self.done(self.recorded)

    def elapsed_time(self, end_event: "FakeEvent") -> float:
        if not (self.recorded and end_event.recorded):
            raise RuntimeError("an event was not recorded")
        if not (self.done(self.recorded) and end_event.done(end_event.recorded)):
            raise RuntimeError("an event has not been reached yet")
        return float(end_event.times[-1] - self.times[-1])


def named(work: Callable[[], None]) -> str:
    """The name of the function that ``work`` calls."""
    return getattr(work, "func", work).__name__


class FakeDevice:
    """Stands in for :class:`accel_rt.runtime.cuda_device.CudaDevice` on CPU tensors.

    ``log`` holds ``STREAM: WORK``, ``capture WORK`` and ``host waits``. Waits for the events in
    ``blind`` are overlooked; streams named in ``slow`` seldom get their turn. ``names`` are those
    of the streams in the order in which they are asked for.
    """

    def __init__(
        self,
        seed: int = 0,
        can_capture: bool = True,
        names: tuple[str, ...] = ("main", "side", "keyframes", "up", "down"),
    ) -> None:
        self.log: list[str] = []
        self.blind: set[FakeEvent] = set()
        self.slow = {"keyframes"}
        self._random = random.Random(seed)
        self._can_capture, self._names = can_capture, names
        self.streams: list[FakeStream] = []
        self._now = 0

    def stream(self) -> FakeStream:
        self.streams.append(FakeStream(self._names[len(self.streams)]))
        return self.streams[-1]

    def event(self) -> FakeEvent:
        return FakeEvent(self)

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype)

    def run(self, stream: FakeStream, work: Callable[[], None]) -> None:
        name = getattr(work, "replays", None) or named(work)
        how = "replay " if hasattr(work, "replays") else ""
        self.log.append(f"{stream.name}: {how}{name}")
        stream.queue.append(("run", work, 0))

    def capture(self, stream: FakeStream, work: Callable[[], None]) -> Callable[[], None]:
        self.log.append(f"capture {named(work)}")
        if not self._can_capture:
            raise RuntimeError("operation not permitted when stream is capturing\nmore words")

        def replay() -> None:
            work()

        replay.replays = named(work)  # type: ignore[attr-defined]
        return replay

    def synchronize(self) -> None:
        self.log.append("device waits")
        while any(stream.queue for stream in self.streams):
            self.advance()

    @torch.inference_mode()
    def advance(self) -> None:
        """Run the first piece of work of a random stream that does not have to wait."""
        ready = [stream for stream in self.streams if stream.queue and not self.blocked(stream)]
        assert ready, "every stream waits for another one"
        quick = [stream for stream in ready if stream.name not in self.slow]
        if quick and self._random.random() < 0.9:
            ready = quick
        stream = self._random.choice(ready)
        what, subject, _ = stream.queue.popleft()
        self._now += 1
        if what == "run":
            subject()
        elif what == "record":
            subject.times.append(self._now)

    def blocked(self, stream: FakeStream) -> bool:
        what, subject, number = stream.queue[0]
        return what == "wait" and subject not in self.blind and not subject.done(number)
