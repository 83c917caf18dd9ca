"""Plain PyTorch twins of the operators: any device and floating point type, differentiable.

They state what each operator means and are what its kernels are tested against (in float64).
Where the extension is missing they stand in for it. Arguments are those of :mod:`accel_rt.ops`,
already checked.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from accel_rt.ops._extension import output_format


def _taps(position: Tensor, size: int, zeros: bool) -> list[tuple[Tensor, Tensor]]:
    """The two taps of one axis as (index, weight), for positions in pixels of a grid of `size`."""
    if not zeros:
        inside = (position > 0) & (position < size - 1)
        # As in F.grid_sample no gradient flows where the border repeats.
        position = torch.where(inside, position, position.detach().nan_to_num().clamp(0, size - 1))
    else:
        # Far outside nothing is read, wherever it is; NaN counts as far outside.
        near = (position >= -1) & (position < size)
        position = torch.where(near, position, torch.full_like(position, -2))
    low = position.detach().floor()
    fraction = position - low
    taps = []
    for index, weight in ((low, 1 - fraction), (low + 1, fraction)):
        valid = (index >= 0) & (index < size)
        taps.append((index.clamp(0, size - 1).long(), torch.where(valid, weight, 0)))
    return taps


def sample(image: Tensor, y: Tensor, x: Tensor, zeros: bool) -> Tensor:
    """Samples `image` [N, C, H, W] bilinearly at `y`, `x` [N, ...] (pixels) -> [N, C, ...]."""
    images, channels, height, width = image.shape
    flat = image.reshape(images, channels, height * width)
    result = image.new_zeros((images, channels, *y.shape[1:]), dtype=image.dtype)
    for row, row_weight in _taps(y, height, zeros):
        for column, column_weight in _taps(x, width, zeros):
            index = (row * width + column).reshape(images, 1, y.shape[1:].numel())
            weight = (row_weight * column_weight).unsqueeze(1)
            value = flat.gather(2, index.expand(-1, channels, -1)).reshape(
                images, channels, *y.shape[1:]
            )
            # A tap of weight zero is not read: Inf and NaN beyond the edge stay there. Numbers
            # are, for the gradient of the weight.
            result = result + torch.where((weight != 0) | value.isfinite(), value, 0) * weight
    return result


def _working_type(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _pixel_grid(flow: Tensor) -> tuple[Tensor, Tensor]:
    rows = torch.arange(flow.shape[2], dtype=flow.dtype, device=flow.device)
    columns = torch.arange(flow.shape[3], dtype=flow.dtype, device=flow.device)
    return rows[:, None], columns[None, :]


def sampling_grid(flow: Tensor) -> Tensor:
    """Flow ``[N, 2, H, W]`` in pixels as the grid ``[N, H, W, 2]`` that F.grid_sample takes."""
    height, width = flow.shape[2:]
    flow = flow.float()
    rows, columns = _pixel_grid(flow)
    x = (columns + flow[:, 0]) * (2 / max(width - 1, 1)) - 1
    y = (rows + flow[:, 1]) * (2 / max(height - 1, 1)) - 1
    return torch.stack((x, y), -1)


def flow_warp(input: Tensor, flow: Tensor, zeros: bool = False) -> Tensor:
    """Twin of :func:`accel_rt.ops.flow_warp`."""
    dtype = _working_type(input.dtype)
    flow = flow.to(dtype)
    rows, columns = _pixel_grid(flow)
    warped = sample(input.to(dtype), rows + flow[:, 1], columns + flow[:, 0], zeros)
    return warped.to(input.dtype)


def deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> Tensor:
    """Twin of :func:`accel_rt.ops.deform_conv2d`."""
    dtype = _working_type(input.dtype)
    images, channels, _, _ = input.shape
    outputs, group_channels, kernel_height, kernel_width = weight.shape
    height, width = offset.shape[2:]
    taps = kernel_height * kernel_width
    offset_groups = offset.shape[1] // (2 * taps)
    share = channels // offset_groups

    shift = offset.to(dtype).reshape(images, offset_groups, taps, 2, height, width)
    rows, columns = _pixel_grid(shift[:, 0, 0])
    gathered = []
    for group in range(offset_groups):
        image = input[:, group * share : (group + 1) * share].to(dtype)
        for k in range(taps):
            y = rows * stride[0] - padding[0] + k // kernel_width * dilation[0]
            x = columns * stride[1] - padding[1] + k % kernel_width * dilation[1]
            tap = sample(image, y + shift[:, group, k, 0], x + shift[:, group, k, 1], zeros=True)
            if mask is not None:
                tap = tap * mask[:, group * taps + k, None].to(dtype)
            gathered.append(tap)
    # [N, offset groups, taps, share, OH, OW] -> [N, groups, C / groups * taps, OH * OW]
    column = torch.stack(gathered, 1).reshape(images, offset_groups, taps, share, height * width)
    groups = channels // group_channels
    column = column.transpose(2, 3).reshape(images, groups, group_channels * taps, height * width)
    matrix = weight.to(dtype).reshape(groups, outputs // groups, group_channels * taps)
    result = (matrix @ column).reshape(images, outputs, height, width)
    if bias is not None:
        result = result + bias.to(dtype)[:, None, None]
    return result.to(input.dtype)


def depthwise_conv2d(
    input: Tensor,
    taps: Tensor,
    bias: Tensor,
    stride: int,
    padding: int,
    dilation: int,
    input_least: float,
    input_most: float,
    least: float,
    most: float,
) -> Tensor:
    """Twin of :func:`accel_rt.ops.depthwise_conv2d`; ``taps`` are the weights ``[K, K, C]``."""
    dtype = _working_type(input.dtype)
    weight = taps.permute(2, 0, 1)[:, None].to(dtype)
    geometry = stride, padding, dilation, input.shape[1]
    kept = input.to(dtype).clamp(input_least, input_most)
    result = F.conv2d(kept, weight, bias.to(dtype), *geometry).clamp(least, most)
    return result.to(input.dtype).contiguous(memory_format=output_format(input))


def warp_score(cache: Tensor, flow: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Twin of :func:`accel_rt.ops.warp_score`."""
    dtype = _working_type(cache.dtype)
    features = flow_warp(cache.to(dtype), flow).relu()
    scores = torch.einsum("ck,nkhw->nchw", weight.to(dtype), features)
    return scores + bias.to(dtype)[:, None, None]


SCORE_LIMIT = 1e30
"""Scores of :func:`upsample_argmax` lie within it."""


def upsample_argmax(scores: Tensor, size: tuple[int, int], extent: tuple[float, float]) -> Tensor:
    """Twin of :func:`accel_rt.ops.upsample_argmax`."""
    return _upsample(scores, size, extent).argmax(1).to(torch.uint8)


def upsample_argmax_margin(
    scores: Tensor, size: tuple[int, int], extent: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Twin of :func:`accel_rt.ops.upsample_argmax_margin`."""
    scores = _upsample(scores, size, extent)
    if scores.shape[1] == 1:
        margin = torch.full_like(scores[:, 0], torch.inf)
    else:
        best, second = scores.topk(2, 1).values.unbind(1)
        margin = best - second
    return scores.argmax(1).to(torch.uint8), margin.float()


def _upsample(scores: Tensor, size: tuple[int, int], extent: tuple[float, float]) -> Tensor:
    scores = scores.to(_working_type(scores.dtype))
    # A weight of zero times an infinity would be NaN.
    scores = scores.nan_to_num(-SCORE_LIMIT).clamp(-SCORE_LIMIT, SCORE_LIMIT)
    for dim in (2, 3):
        pixels = torch.arange(size[dim - 2], dtype=torch.float64, device=scores.device)
        position = (pixels + 0.5) * (scores.shape[dim] / extent[dim - 2]) - 0.5
        shape = [-1 if axis == dim else 1 for axis in range(4)]
        (low, low_weight), (high, high_weight) = (
            (scores.index_select(dim, index), weight.to(scores.dtype).reshape(shape))
            for index, weight in _taps(position, scores.shape[dim], zeros=False)
        )
        scores = low * low_weight + high * high_weight
    return scores


def _overlaps(size: int, cells: int) -> Tensor:
    """How much of each of `size` pixels lies in each of `cells` cells, in cells-ths: [cells, size],
    a row's sum is `size`."""
    cell = torch.arange(cells, dtype=torch.float64)[:, None]
    pixel = torch.arange(size, dtype=torch.float64)[None, :]
    low = torch.maximum(cell * size, pixel * cells)
    high = torch.minimum((cell + 1) * size, (pixel + 1) * cells)
    return (high - low).clamp(min=0)


def _area_sum(image: Tensor, cells: Sequence[int]) -> Tensor:
    """Sums over the cells' areas, of which the whole is the image's area: [..., *cells]."""
    down, across = (
        _overlaps(size, count).to(image.device)
        for size, count in zip(image.shape[-2:], cells, strict=True)
    )
    return down @ image.double() @ across.t()


def _resize_bytes(image: Tensor, size: Sequence[int]) -> Tensor:
    """Whole numbers [N, 3, H, W] resized and rounded: by area where they shrink, else bilinear."""
    height, width = image.shape[2:]
    if (height, width) == tuple(size):
        return image
    if size[0] > height or size[1] > width:
        return F.interpolate(image, tuple(size), mode="bilinear", align_corners=False).round()
    mean = _area_sum(image, size) / (height * width)
    # As OpenCV rounds: halves up where four pixels become one, else to even
    return (mean + 0.5).floor() if (height, width) == (2 * size[0], 2 * size[1]) else mean.round()


def preprocess(
    frame: Tensor,
    processed: Sequence[int],
    padded: Sequence[int],
    size: Sequence[int],
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype,
) -> Tensor:
    """Twin of :func:`accel_rt.ops.preprocess`."""
    image = _resize_bytes(frame.permute(0, 3, 1, 2).flip(1).double(), processed)
    colour = torch.tensor([round(255 * m) for m in mean], dtype=torch.float64)
    canvas = colour.to(frame.device)[:, None, None].repeat(frame.shape[0], 1, *padded)
    canvas[:, :, : processed[0], : processed[1]] = image
    rgb = _resize_bytes(canvas, size).float()
    factor = torch.tensor([1 / (255 * s) for s in std], device=frame.device)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=frame.device)
    result = rgb * factor[:, None, None] + shift[:, None, None]
    return result.to(dtype).contiguous(memory_format=torch.channels_last)


def overlay(
    frame: Tensor, labels: Tensor, palette: Tensor, alpha: float, keep: Tensor | None
) -> Tensor:
    """Twin of :func:`accel_rt.ops.overlay`."""
    index = labels.long()
    # One rounding after the colour's product: a product of float32 is exact in float64.
    share, rest = (torch.tensor(part, dtype=torch.float32).item() for part in (alpha, 1 - alpha))
    colours = (palette[index].float() * share).double()
    blended = (frame.double() * rest + colours).float().round().to(torch.uint8)
    return blended if keep is None else torch.where((keep[index] != 0)[..., None], blended, frame)


def reduce_flow(
    flow: Tensor, padded: Sequence[int], cells: Sequence[int], factor_x: float, factor_y: float
) -> Tensor:
    """Twin of :func:`accel_rt.ops.reduce_flow`."""
    border = (0, padded[1] - flow.shape[3], 0, padded[0] - flow.shape[2])
    extended = F.pad(flow.double(), border, mode="replicate")
    unknown = ~extended.isfinite()
    means = _area_sum(extended.masked_fill(unknown, 0), cells) / (padded[0] * padded[1])
    # Cells that such a pixel reaches have no mean; a matrix product would give the others none.
    means = means.masked_fill(_area_sum(unknown, cells) > 0, torch.nan)
    factor = torch.tensor([factor_x, factor_y], dtype=torch.float64, device=flow.device)
    reduced = (means * factor[:, None, None]).to(_working_type(flow.dtype))
    return reduced.contiguous(memory_format=torch.channels_last)


PATCH, _PATCH_STEP = 8, 4
"""Pixels that a patch of :func:`patch_flow` is high and wide, and to the next one."""


def patch_flow(
    current: Tensor, previous: Tensor, flow: Tensor, rounds: int, iterations: int, damping: float
) -> Tensor:
    """Twin of :func:`accel_rt.ops.patch_flow`."""
    begins = resized_flow(flow, current.shape[1:])
    found = [
        _PatchSearch(one, other, damping).run(begin, rounds, iterations)
        for one, other, begin in zip(current, previous, begins, strict=True)
    ]
    return torch.stack(found) if found else begins


def resized_flow(flow: Tensor, size: Sequence[int]) -> Tensor:
    """Flow ``[N, 2, h, w]`` at another ``size`` ``(height, width)``, in pixels of that."""
    if flow.shape[2:] == tuple(size):
        return flow
    x, y = F.interpolate(flow, tuple(size), mode="bilinear", align_corners=False).unbind(1)
    return torch.stack([x * (size[1] / flow.shape[3]), y * (size[0] / flow.shape[2])], 1)


class _PatchSearch:
    """The patches of one image ``[H, W]``, sought in another; displacements are ``[R, C, 2]``."""

    def __init__(self, current: Tensor, previous: Tensor, damping: float) -> None:
        self._previous = previous
        rows, columns = (self._places(side, current.device) for side in current.shape)
        inside = torch.arange(PATCH, device=current.device)
        self._y = (rows[:, None] + inside)[:, None, :, None].expand(-1, len(columns), -1, PATCH)
        self._x = (columns[:, None] + inside)[None, :, None].expand(len(rows), -1, PATCH, -1)
        self._value = current[self._y, self._x]
        smooth, slope = current.new_tensor([1, 2, 1]), current.new_tensor([-1, 0, 1])
        sobel = torch.stack([smooth[:, None] * slope, slope[:, None] * smooth])[:, None] / 8
        slopes = F.conv2d(F.pad(current[None, None], (1, 1, 1, 1), mode="replicate"), sobel)[0]
        self._slopes = self._level(slopes[:, self._y, self._x])
        products = torch.einsum("arcyx,brcyx->rcab", self._slopes, self._slopes)
        self._inverse = torch.linalg.inv(
            products + damping * torch.eye(2, dtype=products.dtype, device=products.device)
        )

    def run(self, flow: Tensor, rounds: int, iterations: int) -> Tensor:
        """The flow ``[2, H, W]`` that patches give which begin at ``flow``."""
        middle = PATCH // 2
        known = flow[:, self._y[..., 0, 0] + middle, self._x[..., 0, 0] + middle].permute(1, 2, 0)
        for _ in range(rounds):
            known = self._descend(*self._best_neighbour(known), iterations)
        return self._densify(known)

    @staticmethod
    def _places(side: int, device: torch.device) -> Tensor:
        count = -(-(side - PATCH) // _PATCH_STEP) + 1
        return (torch.arange(count, device=device) * _PATCH_STEP).clamp(max=side - PATCH)

    @staticmethod
    def _level(patches: Tensor) -> Tensor:
        return patches - patches.mean((-2, -1), keepdim=True)

    def _difference(self, displacement: Tensor) -> Tensor:
        """``[R, C, 8, 8]``: the image before, displaced, less the patches."""
        x, y = displacement[..., None, None].unbind(2)
        return _sample(self._previous, self._y + y, self._x + x) - self._value

    def _fit(self, displacement: Tensor) -> tuple[Tensor, Tensor]:
        """The squared error ``[R, C]``, and its products with the slopes ``[R, C, 2]``."""
        difference = self._level(self._difference(displacement))
        downhill = torch.einsum("rcyx,arcyx->rca", difference, self._slopes)
        return difference.square().sum((-2, -1)), downhill

    def _best_neighbour(self, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows, columns = known.shape[:2]
        best, (least, downhill) = known, self._fit(known)
        for down, right in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            row = (torch.arange(rows, device=known.device) + down).clamp(0, rows - 1)
            column = (torch.arange(columns, device=known.device) + right).clamp(0, columns - 1)
            other = known[row[:, None], column]
            error, slope = self._fit(other)
            better = (error < least)[..., None]
            best, downhill = (
                torch.where(better, a, b) for a, b in ((other, best), (slope, downhill))
            )
            least = torch.minimum(error, least)
        return best, least, downhill

    def _descend(self, first: Tensor, least: Tensor, downhill: Tensor, iterations: int) -> Tensor:
        best = now = first
        for _ in range(iterations):
            now = now - torch.einsum("rcab,rcb->rca", self._inverse, downhill)
            error, downhill = self._fit(now)
            near = (now - first).square().sum(-1) < PATCH**2
            better = near & (error < least)
            best, least = (
                torch.where(better[..., None], now, best),
                torch.where(better, error, least),
            )
        return best

    def _densify(self, displacement: Tensor) -> Tensor:
        height, width = self._previous.shape
        weight = 1 / self._difference(displacement).abs().clamp(min=1)
        places = (self._y * width + self._x).flatten()
        sums = weight.new_zeros(3, height * width)
        parts = torch.stack(
            [weight, *(weight * d[..., None, None] for d in displacement.unbind(-1))]
        )
        sums.index_add_(1, places, parts.flatten(1))
        return (sums[1:] / sums[:1]).view(2, height, width)


def _sample(image: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """``image`` ``[H, W]`` at positions, bilinearly; the edge repeats, and NaN counts as 0."""
    height, width = image.shape
    y, x = y.nan_to_num().clamp(0, height - 1), x.nan_to_num().clamp(0, width - 1)
    top, left = y.floor().clamp(max=height - 2).long(), x.floor().clamp(max=width - 2).long()
    down, right = y - top, x - left
    above = (1 - right) * image[top, left] + right * image[top, left + 1]
    below = (1 - right) * image[top + 1, left] + right * image[top + 1, left + 1]
    return (1 - down) * above + down * below
