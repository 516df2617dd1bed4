"""GPU energy of one image from a diffusion model's counted work, calibrated by public measurements.

    E_GPU = k * (e * (passes * steps * F(pixels) + vae_runs * F_vae(pixels)) + c * steps / batch) / 3600

F in TFLOP (flops.csv), e in J/TFLOP, c in J per step, result in Wh. k is measured over formula for the same
network where a measurement exists, else 1: the formula then scales the measurement to the asked size,
steps, batch and GPU. Refuses to know places.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import exp, log
from typing import TYPE_CHECKING

from gateway.footprint.hardware import fit_of
from gateway.footprint.tokens import parse_size

if TYPE_CHECKING:
    from gateway.footprint.entries import Anchor, CountedFlops
    from gateway.footprint.factors import FactorSet
    from gateway.footprint.hardware import GpuFit, Precision

VAE = "sd-vae-decode"
HALF = 0.5


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the formula needs to know of one image's work.

    `sequence` is the denoiser's input in images: more than one where input images join it. `vae_runs` counts
    decoding and, for input images, encoding.
    """

    architecture: str
    pixels: float
    steps: int
    passes: int
    batch: int
    precision: Precision
    sequence: float = 1.0
    vae_runs: float = 1.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """Measured over formula energy for a network, and where it was measured.

    `own`: on the same GPU and precision. `distance`: natural logarithm of pixels asked over pixels measured.
    """

    ratio: float
    own: bool
    anchor: Anchor
    distance: float
    gpu_s_per_wh: float | None


@lru_cache(maxsize=4096)
def tflop_per_forward(architecture: str, pixels: float, factors: FactorSet) -> float:
    """TFLOP of one forward; between counted sizes on a straight line in log-log, whatever the aspect."""
    derived = factors.architectures.get(architecture)
    if derived is not None:
        return derived.scale * _interpolated(factors.flops[derived.like], pixels)
    return _interpolated(factors.flops[architecture], pixels)


def counted_range(architecture: str, factors: FactorSet) -> tuple[float, float]:
    """The smallest and largest number of pixels for which the network's work was counted."""
    derived = factors.architectures.get(architecture)
    points = factors.flops[derived.like if derived else architecture].points
    return points[0][0], points[-1][0]


def _interpolated(counted: CountedFlops, pixels: float) -> float:
    points = counted.points
    index = next((i for i, (size, _) in enumerate(points[1:], 1) if pixels <= size), len(points) - 1)
    (size0, work0), (size1, work1) = points[index - 1], points[index]
    slope = log(work1 / work0) / log(size1 / size0)
    return float(work0 * exp(slope * log(pixels / size0)))


def formula_wh(work: Conditions, fit: GpuFit, factors: FactorSet) -> float:
    """GPU Wh of one image by the FLOP formula, without calibration."""
    forward = tflop_per_forward(work.architecture, work.pixels * work.sequence, factors)
    tflop = work.passes * work.steps * forward + work.vae_runs * tflop_per_forward(VAE, work.pixels, factors)
    if work.precision == "fp32":
        return tflop * fit.pj_per_flop * factors.constants["gpu.fp32_per_bf16"].value / 3600
    return (tflop * fit.pj_per_flop + fit.step_j * work.steps / work.batch) / 3600


def formula_numbers(work: Conditions, fit: GpuFit, factors: FactorSet) -> dict[str, float]:
    """The numbers that `formula_wh` computes from, by their names in the formula."""
    numbers = {
        "e": fit.pj_per_flop,
        "passes": work.passes,
        "steps": work.steps,
        "F": tflop_per_forward(work.architecture, work.pixels * work.sequence, factors),
        "runs": work.vae_runs,
        "F_vae": tflop_per_forward(VAE, work.pixels, factors),
    }
    if work.precision == "fp32":
        return {**numbers, "fp32": factors.constants["gpu.fp32_per_bf16"].value}
    return {**numbers, "c": fit.step_j}


def calibration(work: Conditions, gpu_id: str, factors: FactorSet) -> Calibration | None:
    """How measurements of a network compare with the formula; None where it was never measured.

    Measurements on the same GPU in the same precision come first, then those on other GPUs, then those in
    another precision. Between measured batch sizes the ratio follows the logarithm of the batch.
    """
    key = (work.architecture, gpu_id, work.precision)
    return _calibration(key, work.batch, work.pixels, factors)


@lru_cache(maxsize=4096)
def _calibration(
    key: tuple[str, str, Precision], batch: int, pixels: float, factors: FactorSet
) -> Calibration | None:
    architecture, gpu_id, precision = key
    found = factors.anchors.get(architecture, ())
    asked: Precision = "bf16" if precision == "quantised" else precision
    own = [a for a in found if a.gpu == gpu_id and a.precision == asked]
    if own:
        return _interpolated_ratio(own, batch, pixels, factors, own=precision == asked)
    other = [a for a in found if a.precision == asked] or list(found)
    if not other:
        return None
    by_gpu = [
        _interpolated_ratio([a for a in other if a.gpu == gpu], batch, pixels, factors, own=False)
        for gpu in dict.fromkeys(a.gpu for a in other)
    ]
    mean = exp(sum(log(item.ratio) for item in by_gpu) / len(by_gpu))
    return replace(by_gpu[0], ratio=mean, gpu_s_per_wh=None)


def _interpolated_ratio(
    anchors: list[Anchor], batch: int, pixels: float, factors: FactorSet, *, own: bool
) -> Calibration:
    ordered = sorted(anchors, key=lambda anchor: anchor.batch)
    below = [a for a in ordered if a.batch <= batch][-1:] or ordered[:1]
    above = [a for a in ordered if a.batch >= batch][:1] or ordered[-1:]
    lower, upper = below[0], above[0]
    share = 0.0 if lower.batch == upper.batch else log(batch / lower.batch) / log(upper.batch / lower.batch)
    ratio = exp((1 - share) * log(_ratio(lower, factors)) + share * log(_ratio(upper, factors)))
    near = lower if share <= HALF else upper
    width, height = parse_size(near.size)
    speed = near.gpu_seconds / near.gpu_wh if near.gpu_seconds else None
    return Calibration(
        ratio, own=own, anchor=near, distance=log(pixels / (width * height)), gpu_s_per_wh=speed
    )


@lru_cache(maxsize=1024)
def _ratio(anchor: Anchor, factors: FactorSet) -> float:
    width, height = parse_size(anchor.size)
    work = Conditions(
        anchor.architecture, width * height, anchor.steps, anchor.passes, anchor.batch, anchor.precision
    )
    return anchor.gpu_wh / formula_wh(work, fit_of(factors.gpus[anchor.gpu], factors), factors)
