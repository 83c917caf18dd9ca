"""What teachers say of whole frames, asked once and kept beside a run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from accel_rt.data.dataset import DatasetFrame
from accel_rt.errors import OutputError
from accel_rt.files import contents_digest, replacing
from accel_rt.models import store
from accel_rt.train.distil import Teacher
from accel_rt.train.processes import Processes
from accel_rt.train.settings import LabelledSettings
from accel_rt.train.trainer import Stop


class TaughtFrames:
    """For each frame probabilities uint8 ``[C, H/4, W/4]`` in 255ths, as :meth:`.Teacher.of_frame`.

    They are files of a folder in the run folder ``out``, which is called after the frames and the
    teachers: a run that goes on asks for nothing twice.
    """

    def __init__(
        self, out: Path, frames: Sequence[DatasetFrame], settings: LabelledSettings
    ) -> None:
        self._frames = frames
        teachers = contents_digest(map(store.find, settings.teacher))
        asked = repr((teachers, settings.teacher_scales, [frame.stamp() for frame in frames]))
        self._folder = out / f"taught-{hashlib.sha256(asked.encode()).hexdigest()[:12]}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot create {self._folder}: {error.strerror}") from error

    def ask(self, teacher: Teacher, processes: Processes, stop: Stop) -> None:
        """Have every frame answered, each process its share.

        Raises ``KeyboardInterrupt`` if ``stop`` says so; answers that are there stay.
        """
        count = len(self._frames)
        own = range(processes.rank, count, processes.world)
        # All of them at last: the answers of other machines may be on their disks alone.
        for numbers in (own, range(count)):
            stopped = torch.zeros((), device=processes.device)
            for number in numbers:
                if self._path(number).exists():
                    continue
                if stop():
                    stopped += 1
                    break
                answer = teacher.of_frame(self._frames[number].image_bgr())
                with replacing(self._path(number)) as file:
                    np.savez_compressed(file, answer)
            if processes.total(stopped) > 0:  # waits for all, so that all go on or none
                raise KeyboardInterrupt

    def __getitem__(self, number: int) -> np.ndarray:
        with np.load(self._path(number)) as answer:
            return answer["arr_0"]

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.npz"
