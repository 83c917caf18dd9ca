"""Losses, as sums with their weights, so that parts of a batch add up to the whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from accel_rt.classes import IGNORE_LABEL
from accel_rt.data.dataset import DataSet

_EDGE_PX = 3
_LOVASZ_ROWS = 4  # sorting all rows' pixels for every class takes a third of a step's time


def segmentation_sums(
    scores: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,
    hardest: float = 1.0,
    edges: float = 0.0,
    lovasz: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Summed pixel-wise loss and summed pixel weights; their quotient is the loss.

    Scores ``[N, C, h, w]`` are upsampled to labels ``[N, H, W]``. The loss is cross-entropy, and
    for its share ``lovasz`` :func:`lovasz_softmax` of every fourth row. ``weights`` are the
    classes' ``[C]``. ``hardest`` keeps that share of each image's labelled pixels, those with the
    largest cross-entropy (online hard example mining). Pixels of :func:`near_edges` weigh
    ``1 + edges``.
    """
    upsampled = F.interpolate(scores, labels.shape[-2:], mode="bilinear", align_corners=False)
    labels = labels.long()
    loss, weight = _cross_entropy_sums(upsampled, labels, weights, hardest, edges)
    if lovasz:
        rows = slice(None, None, _LOVASZ_ROWS)
        mean = lovasz_softmax(upsampled[:, :, rows], labels[:, rows])
        loss = torch.lerp(loss, mean * weight, lovasz)
    return loss, weight


def _cross_entropy_sums(
    upsampled: Tensor, labels: Tensor, weights: Tensor | None, hardest: float, edges: float
) -> tuple[Tensor, Tensor]:
    labelled = labels != IGNORE_LABEL
    if weights is None:
        pixel_weights = labelled.to(upsampled.dtype)
    else:
        pixel_weights = weights[labels.where(labelled, 0)] * labelled
    if hardest >= 1 and not edges:
        loss = F.cross_entropy(
            upsampled, labels, weights, ignore_index=IGNORE_LABEL, reduction="sum"
        )
        return loss, pixel_weights.sum()
    losses = F.cross_entropy(
        upsampled, labels, weights, ignore_index=IGNORE_LABEL, reduction="none"
    )
    if edges:
        emphasis = 1 + edges * near_edges(labels)
        losses, pixel_weights = losses * emphasis, pixel_weights * emphasis
    if hardest >= 1:
        return losses.sum(), pixel_weights.sum()
    sums = []
    for loss, weight, valid in zip(losses, pixel_weights, labelled, strict=True):
        kept = loss[valid].topk(int(np.ceil(hardest * int(valid.sum()))))
        sums.append(torch.stack([kept.values.sum(), weight[valid][kept.indices].sum()]))
    total = torch.stack(sums).sum(0)
    return total[0], total[1].detach()


def lovasz_softmax(scores: Tensor, labels: Tensor) -> Tensor:
    """The Lovász-softmax loss, a convex form of 1 - mIoU (Berman, Rannen Triki, Blaschko 2018).

    Scores are ``[N, C, H, W]``, labels ``[N, H, W]``. The mean over the classes that occur, each
    counted over the whole batch; 0 where nothing is labelled.
    """
    labelled = (labels != IGNORE_LABEL).flatten()
    probabilities = scores.softmax(1).movedim(1, 0).flatten(1)
    truth = torch.zeros_like(probabilities)
    truth.scatter_(0, (labels.flatten().long() * labelled)[None], labelled.to(truth.dtype)[None])
    occurring = truth.any(1)
    if not occurring.any():
        return scores.sum() * 0
    truth = truth[occurring]
    # What is ignored has no error: it comes last, and counts for nothing there.
    errors = (truth - probabilities[occurring]).abs() * labelled
    with torch.no_grad():
        order = errors.argsort(1, descending=True)
        true = truth.gather(1, order)
        # 1 - IoU if this pixel and all of larger errors were wrong, and no other
        total = true.sum(1, keepdim=True)
        loss = 1 - (total - true.cumsum(1)) / (total + (1 - true).cumsum(1))
        slopes = torch.diff(loss, prepend=loss.new_zeros(len(loss), 1))
        slopes = torch.empty_like(slopes).scatter_(1, order, slopes)
    return (errors * slopes).sum(1).mean()


def near_edges(labels: Tensor) -> Tensor:
    """bool ``[N, H, W]``: another class is within :data:`_EDGE_PX` pixels of the labels'.

    All of a thin thing is, such as a pole. Pixels that are ignored are nobody's edge.
    """
    ignored = labels == IGNORE_LABEL
    side = 2 * _EDGE_PX + 1
    highest = F.max_pool2d(labels.masked_fill(ignored, -1).float(), side, 1, _EDGE_PX)
    lowest = -F.max_pool2d(-labels.float(), side, 1, _EDGE_PX)  # to be ignored is the highest
    return (highest > lowest) & ~ignored


def disagreement(scores: Tensor, carried: Tensor, labels: Tensor) -> Tensor:
    """Mean KL divergence of ``scores`` from what was ``carried`` along the flow, which is left as
    it is; both are ``[N, C, h, w]``.

    Only cells count where the carried scores are right (``labels`` ``[N, H, W]``): the flow is
    valid there, and a change of the prediction is flicker.
    """
    target = F.log_softmax(carried.detach(), 1)
    cells = target.shape[-2:]
    nearest = F.interpolate(labels[:, None].float(), cells, mode="nearest-exact")[:, 0]
    right = target.argmax(1) == nearest
    apart = F.kl_div(F.log_softmax(scores, 1), target, reduction="none", log_target=True).sum(1)
    return (apart * right).sum() / right.sum().clamp(min=1)


def segmentation_loss(
    scores: Tensor, labels: Tensor, weights: Tensor | None = None, hardest: float = 1.0
) -> Tensor:
    """Mean of :func:`segmentation_sums` over the pixels that count; 0 where none does."""
    loss, weight = segmentation_sums(scores, labels, weights, hardest)
    return loss / weight.clamp(min=1e-9)


def class_weights(counts: np.ndarray, balance: float) -> Tensor:
    """Weights ``[C]`` from pixel counts, ``frequency ** -balance`` with mean 1 over the pixels.

    A class without pixels weighs as much as one with a ten-thousandth of them.
    """
    frequency = np.maximum(counts / counts.sum(), 1e-4)
    weights = frequency**-balance
    return torch.tensor(weights / (weights * frequency).sum(), dtype=torch.float32)


def label_weights(datasets: Sequence[DataSet], balance: float) -> Tensor | None:
    """:func:`class_weights` from some hundred labelled frames; None where all count alike, and
    where none of their pixels is labelled."""
    if not balance or not datasets:
        return None
    classes = len(datasets[0].classes)
    counts = np.zeros(classes)
    for dataset in datasets:
        frames = dataset.labelled()
        for frame in frames[:: max(1, len(frames) // 100)]:
            counts += np.bincount(frame.labels().ravel(), minlength=256)[:classes]
    return class_weights(counts, balance) if counts.any() else None


_SCALE_WEIGHTS = (1 / 9, 1 / 9, 1 / 9, 2 / 9, 4 / 9)
"""Of strides 64, 32, 16, 8, 4: FlowNet's, which weigh sums over pixels, turned to weigh means."""
_FLOW_UNIT_PX = 20  # as FlowNet has it; it sets the loss's scale against weight decay


def multiscale_epe_sums(flows: list[Tensor], truth: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Summed end-point errors over all scales, in units of 20 pixels, and the number of samples.

    ``flows`` are ``[N, 2, h, w]`` in pixels, coarse to fine; ``truth`` ``[N, 2, H, W]``; only
    pixels where ``valid`` ``[N, H, W]`` count. The truth of a cell is the mean over its valid
    pixels, and its weight their share (Dosovitskiy et al., FlowNet, 2015, section 3).
    """
    shares = valid[:, None].to(truth.dtype)
    total = truth.new_zeros(len(truth))
    for flow, weight in zip(flows, _SCALE_WEIGHTS, strict=True):
        size = flow.shape[2], flow.shape[3]
        share = F.adaptive_avg_pool2d(shares, size)
        target = F.adaptive_avg_pool2d(truth * shares, size) / share.clamp(min=1e-6)
        # The root's slope is infinite at zero.
        error = ((flow.float() - target).square().sum(1) + 1e-6).sqrt()
        share = share[:, 0]
        total = total + weight * (error * share).sum((1, 2)) / share.sum((1, 2)).clamp(min=1e-6)
    return total.sum() / _FLOW_UNIT_PX, total.new_tensor(float(len(total)))
