"""The authors' networks written down as their MXNet graphs have them, in float64 PyTorch.

Nothing of the package is used. Parameters come into being, by their MXNet names and random, when a
layer first asks for them, so that :attr:`Literal.parameters` is what a checkpoint must hold.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

MEANS_BGR = (103.06, 115.90, 123.15)
LETTERS = "abcdef"


def create(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values that keep activations in range, a function of name and shape."""
    random = np.random.default_rng(zlib.crc32(f"{name} {shape}".encode()))

    def uniform(low: float, high: float) -> np.ndarray:
        return random.random(shape, np.float32) * np.float32(high - low) + np.float32(low)

    raw = "bn_conv1" in name or "bn_data" in name  # sees colours
    if name.endswith("_moving_var"):
        values = uniform(4000, 9000) if raw else uniform(0.7, 1.3)
        values[0] = values[0] if raw else 3e-5  # a wrong epsilon shows
        return values
    if name.endswith("_gamma"):
        values = uniform(0.1, 0.25) if "branch2c" in name else uniform(0.8, 1.2)
        values[0] *= 1 if raw else 0.006
        return 2 * values if "bn_data" in name else values
    if name.endswith(("_moving_mean", "_beta", "_bias")):
        return uniform(-0.3, 0.3)
    if name.endswith("upsampling_weight") and "feat" not in name:
        kernel = 1 - np.abs((np.arange(32) + 0.5) / 16 - 1)
        return (kernel[:, None] * kernel * uniform(0.9, 1.1)).astype(np.float32)
    inputs = shape[0] * 4 if "deconv" in name or "feat_up" in name else np.prod(shape[1:])
    bound = np.sqrt(6 / inputs) * (0.4 if "unit" in name and "conv2" in name else 1)
    return uniform(-bound, bound) * np.float32(0.3 if "offset" in name else 1)


class Literal:
    """Accel-``version`` (18, 34, 50 or 101)."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.parameters: dict[str, np.ndarray] = {}

    def get(self, name: str, *shape: int) -> Tensor:
        kind = "aux" if "_moving_" in name else "arg"
        if f"{kind}:{name}" not in self.parameters:
            self.parameters[f"{kind}:{name}"] = create(name, shape)
        found = self.parameters[f"{kind}:{name}"]
        assert found.shape == shape, name
        return torch.from_numpy(found).double()

    # layers

    def conv(self, x: Tensor, name: str, out: int, kernel: int, stride: int = 1, pad: int = 0,
             dilate: int = 1, bias: bool = True) -> Tensor:  # fmt: skip
        weight = self.get(f"{name}_weight", out, x.shape[1], kernel, kernel)
        return F.conv2d(
            x, weight, self.get(f"{name}_bias", out) if bias else None, stride, pad, dilate
        )

    def norm(self, x: Tensor, name: str, eps: float = 1e-5, fix_gamma: bool = False) -> Tensor:
        channels = x.shape[1]
        mean, variance, gamma, beta = (
            self.get(f"{name}_{leaf}", channels)[:, None, None]
            for leaf in ("moving_mean", "moving_var", "gamma", "beta")
        )
        gamma = torch.ones_like(gamma) if fix_gamma else gamma
        return (x - mean) / (variance + eps).sqrt() * gamma + beta

    def deformable(self, x: Tensor, name: str, out: int, groups: int, dilate: int) -> Tensor:
        """3x3, dilated by 2; offsets from a convolution dilated by ``dilate``."""
        offset = self.conv(x, f"{name}_offset", 18 * groups, 3, 1, dilate, dilate)
        weight = self.get(f"{name}_weight", out, x.shape[1], 3, 3)
        height, width = x.shape[2:]
        share = x.shape[1] // groups
        rows = torch.arange(height).double()[:, None]
        columns = torch.arange(width).double()[None, :]
        total = torch.zeros(1, out, height, width, dtype=torch.float64)
        for group in range(groups):
            part = x[0, group * share : (group + 1) * share]
            for tap in range(9):
                channel = 2 * (9 * group + tap)
                y = rows - 2 + 2 * (tap // 3) + offset[0, channel]
                z = columns - 2 + 2 * (tap % 3) + offset[0, channel + 1]
                counts = (y >= 0) & (z >= 0) & (y < height) & (z < width)
                y, z = y.clamp(0, height - 1), z.clamp(0, width - 1)
                top, left = y.floor().long(), z.floor().long()
                below, right = (top + 1).clamp(max=height - 1), (left + 1).clamp(max=width - 1)
                dy, dx = y - top, z - left
                upper = part[:, top, left] * (1 - dx) + part[:, top, right] * dx
                lower = part[:, below, left] * (1 - dx) + part[:, below, right] * dx
                value = (upper * (1 - dy) + lower * dy) * counts
                kernel = weight[:, group * share : (group + 1) * share, tap // 3, tap % 3]
                total[0] += torch.einsum("oc,chw->ohw", kernel, value)
        return total

    # the key network's and the 50's feature network

    def resnet(self, x: Tensor, prefix: str, blocks: tuple[int, ...], numbered: bool, groups: int,
               dilate: int) -> Tensor:  # fmt: skip
        x = self.conv(x, f"{prefix}conv1", 64, 7, 2, 3, bias=False)
        x = self.norm(x, f"{prefix}bn_conv1").relu()
        x = F.max_pool2d(x, 3, 2, 0, ceil_mode=True)
        for stage, count in enumerate(blocks, 2):
            for block in range(count):
                place = f"{stage}{LETTERS[block] if not numbered or not block else f'b{block}'}"
                if numbered and stage in (2, 5):
                    place = f"{stage}{LETTERS[block]}"
                x = self.bottleneck(x, prefix, place, block == 0, groups, dilate)
        return x

    def bottleneck(self, x: Tensor, prefix: str, place: str, first: bool, groups: int,
                   dilate: int) -> Tensor:  # fmt: skip
        width = {"2": 64, "3": 128, "4": 256, "5": 512}[place[0]]
        stride = 2 if first and place[0] in "34" else 1
        res, bn = f"{prefix}res{place}_branch", f"{prefix}bn{place}_branch"
        shortcut = x
        if first:
            shortcut = self.conv(x, f"{res}1", 4 * width, 1, stride, bias=False)
            shortcut = self.norm(shortcut, f"{bn}1")
        y = self.norm(self.conv(x, f"{res}2a", width, 1, stride, bias=False), f"{bn}2a").relu()
        if place[0] == "5":
            y = self.deformable(y, f"{res}2b", width, groups, dilate)
        else:
            y = self.conv(y, f"{res}2b", width, 3, 1, 1, bias=False)
        y = self.norm(y, f"{bn}2b").relu()
        y = self.norm(self.conv(y, f"{res}2c", 4 * width, 1, bias=False), f"{bn}2c")
        return (shortcut + y).relu()

    # the 18's and 34's

    def preactivation(self, x: Tensor, prefix: str, units: tuple[int, ...]) -> Tensor:
        eps = 2e-5
        x = self.norm(x, f"{prefix}bn_data", eps, fix_gamma=True)
        x = self.conv(x, f"{prefix}conv0", 64, 7, 2, 3, bias=False)
        x = F.max_pool2d(self.norm(x, f"{prefix}bn0", eps).relu(), 3, 2, 1)
        for stage, count in enumerate(units[:3], 1):
            width = 32 * 2**stage
            for unit in range(1, count + 1):
                name = f"{prefix}stage{stage}_unit{unit}_"
                stride = 2 if unit == 1 and stage > 1 else 1
                active = self.norm(x, f"{name}bn1", eps).relu()
                if unit == 1:
                    x = self.conv(active, f"{name}sc", width, 1, stride, bias=False)
                y = self.conv(active, f"{name}conv1", width, 3, stride, 1, bias=False)
                y = self.norm(y, f"{name}bn2", eps).relu()
                x = x + self.conv(y, f"{name}conv2", width, 3, 1, 1, bias=False)
        for block in range(units[3]):
            res = f"{prefix}res5{LETTERS[block]}_branch"
            bn = f"{prefix}bn5{LETTERS[block]}_branch"
            shortcut, stride = x, 1
            if block == 0:
                stride = 2
                shortcut = self.conv(x, f"{res}1", 512, 1, 2, bias=False)
                shortcut = self.norm(shortcut, f"{bn}1")
            y = self.conv(x, f"{res}2a", 512, 3, stride, 1, bias=False)
            y = self.norm(y, f"{bn}2a").relu()
            y = self.norm(self.deformable(y, f"{res}2b", 512, 4, 2), f"{bn}2b")
            x = (shortcut + y).relu()
        weight = self.get(f"{prefix}feat_upsampling_weight", 512, 2048, 4, 4)
        return F.conv_transpose2d(x, weight, None, 2, 1)

    # heads, flow, warp

    def head(self, features: Tensor, prefix: str, size: tuple[int, int]) -> Tensor:
        """Scores ``[1, 19, H, W]``."""
        x = self.conv(features, f"{prefix}fc6", 1024, 1).relu()
        x = self.conv(x, f"{prefix}score", 19, 1)
        weight = self.get(f"{prefix}upsampling_weight", 19, 1, 32, 32)
        x = F.conv_transpose2d(x, weight, None, 16, 0, groups=19)
        return x[..., 8 : 8 + size[0], 8 : 8 + size[1]]

    def flow(self, current: Tensor, previous: Tensor) -> Tensor:
        x = F.avg_pool2d(torch.cat([current / 255, previous / 255], 1), 2, ceil_mode=True)
        laterals = []
        for name, out, kernel, stride in (
            ("flow_conv1", 64, 7, 2), ("conv2", 128, 5, 2), ("conv3", 256, 5, 2),
            ("conv3_1", 256, 3, 1), ("conv4", 512, 3, 2), ("conv4_1", 512, 3, 1),
            ("conv5", 512, 3, 2), ("conv5_1", 512, 3, 1), ("conv6", 1024, 3, 2),
            ("conv6_1", 1024, 3, 1),
        ):  # fmt: skip
            x = F.leaky_relu(self.conv(x, name, out, kernel, stride, kernel // 2), 0.1)
            if name in ("conv2", "conv3_1", "conv4_1", "conv5_1"):
                laterals.append(x)
        for level, out in ((6, 512), (5, 256), (4, 128), (3, 64)):
            lateral = laterals.pop()
            height, width = lateral.shape[2:]
            flow = self.conv(x, f"Convolution{7 - level}", 2, 3, 1, 1)
            names = f"deconv{level - 1}", f"upsample_flow{level}to{level - 1}"
            ups = []
            for name, inputs, outputs in ((names[0], x, out), (names[1], flow, 2)):
                weight = self.get(f"{name}_weight", inputs.shape[1], outputs, 4, 4)
                bias = self.get(f"{name}_bias", outputs)
                up = F.conv_transpose2d(inputs, weight, bias, 2)
                ups.append(up[..., 1 : 1 + height, 1 : 1 + width])
            x = torch.cat([lateral, F.leaky_relu(ups[0], 0.1), ups[1]], 1)
        x = F.avg_pool2d(x, 2, ceil_mode=True)
        return self.conv(x, "Convolution5", 2, 3, 1, 1) * 2.5

    @staticmethod
    def warp(features: Tensor, flow: Tensor) -> Tensor:
        height, width = flow.shape[2:]
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        grid_x = (x + flow[:, 0]) / ((width - 1) / 2) - 1
        grid_y = (y + flow[:, 1]) / ((height - 1) / 2) - 1
        grid = torch.stack([grid_x, grid_y], 3)
        return F.grid_sample(features, grid, "bilinear", "zeros", align_corners=True)

    # frames

    @staticmethod
    def data(frame_bgr: np.ndarray) -> Tensor:
        rgb = (frame_bgr.astype(np.float64) - MEANS_BGR)[..., ::-1].transpose(2, 0, 1)
        return torch.from_numpy(rgb.copy())[None]

    def reference(self, data: Tensor) -> Tensor:
        return self.resnet(data, "", (3, 4, 23, 3), True, 1, 1)

    def key(self, frame_bgr: np.ndarray) -> tuple[Tensor, Tensor]:
        """Features and scores."""
        data = self.data(frame_bgr)
        features = self.reference(data)
        return features, self.head(features, "", frame_bgr.shape[:2])

    def current(
        self, frame_bgr: np.ndarray, previous_bgr: np.ndarray, features: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Flow, warped features and scores."""
        size, data = frame_bgr.shape[:2], self.data(frame_bgr)
        flow = self.flow(data, self.data(previous_bgr))
        warped = self.warp(features, flow)
        if self.version == "101":
            both = torch.cat([warped, self.reference(data)], 1)
            return flow, warped, self.head(self.conv(both, "corr", 2048, 1), "", size)
        if self.version == "50":
            own = self.resnet(data, "50_", (3, 4, 6, 3), False, 4, 2)
            right = self.head(own, "curr_", size)
        else:
            units = {"18": (2, 2, 2, 2), "34": (3, 4, 6, 3)}[self.version]
            own = self.preactivation(data, f"{self.version}_", units)
            right = self.head(own, f"{self.version}_", size)
        both = torch.cat([self.head(warped, "", size), right], 1)
        return flow, warped, self.conv(both, "corr", 19, 1)
