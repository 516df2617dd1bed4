"""The GPUs that a site runs on: which family, how much energy per work, in which precision, how many share.

What nobody said is assumed, told as a sentence and widens the band by the named spread terms. Refuses to
know models.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from math import exp, log, log2
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from gateway.footprint.entries import Gpu
    from gateway.footprint.factors import FactorSet
    from gateway.footprint.quantities import FactorUse, Site

DEFAULT_GPU = "H100"
Precision = Literal["bf16", "fp32", "quantised"]
FP32 = frozenset({"fp32", "float32", "f32", "tf32", "float", "full", "32", "32bit", "single"})
BF16 = frozenset({"bf16", "bfloat16", "fp16", "float16", "f16", "half", "16", "16bit", "mixed", "autocast"})
QUANTISED = re.compile(
    r"(fp|f|float|int|nvfp|mxfp|nf|w)[468](?!\d)|q[2-8](?!\d)|[468](bit|$)|gguf|awq|gptq|quant|svdq"
)


@dataclass(frozen=True, slots=True)
class GpuFit:
    """Coefficients of a GPU: J per TFLOP, J per step, W while generating; measured (`fitted`) or scaled."""

    gpu: Gpu
    pj_per_flop: float
    step_j: float
    power_w: float
    fitted: bool


@dataclass(frozen=True, slots=True)
class Hardware:
    """A site's hardware with nothing left open. Where GPUs share one image, `share` multiplies its energy and
    `wait_j` is added per step and batch.

    `named` is false when the GPU is the default. `gpu_terms` and `other_terms` are spread terms.
    """

    gpu: GpuFit
    named: bool
    precision: Precision
    batch: int
    share: float
    wait_j: float
    gpu_terms: tuple[str, ...]
    other_terms: tuple[str, ...]
    gpu_assumptions: tuple[str, ...]
    other_assumptions: tuple[str, ...]

    @property
    def terms(self) -> tuple[str, ...]:
        return self.gpu_terms + self.other_terms


@lru_cache(maxsize=1024)
def find_hardware(site: Site, factors: FactorSet) -> Hardware:
    """The hardware of a site; an unknown GPU is the default one with wider bounds."""
    gpu = find_gpu(site.gpu, factors)
    fit = fit_of(gpu or factors.gpus[DEFAULT_GPU], factors)
    gpu_told: tuple[str, ...] = ()
    gpu_terms: tuple[str, ...] = ()
    if gpu is None:
        said = "not given" if site.gpu is None else "not in the factor set"
        gpu_told, gpu_terms = (f"GPU {said}: {DEFAULT_GPU}, with wider bounds.",), ("gpu_unknown",)
    elif not fit.fitted:
        gpu_told = (f"No image measurement on {gpu.id}: scaled by board power and throughput.",)
        gpu_terms = ("gpu_extrapolated",)
    precision, understood = precision_of(site.precision)
    terms, told = [], []
    if site.precision is None:
        told.append("Precision not given: bf16, with wider bounds.")
        terms.append("precision_unknown")
    elif not understood:
        told.append("Precision not understood: counted like bf16, with wider bounds.")
    if precision == "quantised":
        terms.append("quantised")
    if site.batch is None:
        told.append("Batch not given: 1, the least efficient, with wider bounds below.")
        terms.append("batch_unknown")
    extra = max(1, site.num_gpus or 1) - 1
    if extra:
        terms.append("shared")
    return Hardware(
        gpu=fit,
        named=gpu is not None,
        precision=precision,
        batch=max(1, site.batch or 1),
        share=1.0 + log2(1 + extra) * factors.constants["gpu.sharing"].value,
        wait_j=extra * factors.constants["gpu.sharing_step_j_per_tdp_w"].value * fit.gpu.tdp_w,
        gpu_terms=gpu_terms,
        other_terms=tuple(terms),
        gpu_assumptions=gpu_told,
        other_assumptions=tuple(told),
    )


@lru_cache(maxsize=1024)
def find_gpu(name: str | None, factors: FactorSet) -> Gpu | None:
    """The GPU family in a name such as `A100-SXM4-40GB`, `h100` or `NVIDIA GeForce RTX 4090`."""
    if name is None:
        return None
    for pattern, gpu in _gpu_patterns(factors):
        if pattern.search(name):
            return gpu
    return None


@lru_cache(maxsize=256)
def precision_of(name: str | None) -> tuple[Precision, bool]:
    """The precision class of any spelling, and whether the name was understood; None means bf16.

    Of several words (`fp16/bf16`, `fp32/TF32`) a quantised one wins, then one of 32 bits.
    """
    words = re.findall(r"[a-z0-9]+", (name or "bf16").lower())
    if any(QUANTISED.match(word) for word in words):
        return "quantised", True
    if FP32.intersection(words):
        return "fp32", True
    if BF16.intersection(words):
        return "bf16", True
    return "quantised", False


@lru_cache(maxsize=256)
def fit_of(gpu: Gpu, factors: FactorSet) -> GpuFit:
    """A GPU's coefficients; those without measurements are scaled by board power over throughput.

    Between measured GPUs on a straight line in log-log, beyond them in proportion.
    """
    constants = factors.constants
    power = gpu.power_w or constants["gpu.power_per_tdp"].value * gpu.tdp_w
    if gpu.pj_per_flop is not None and gpu.step_j is not None:
        return GpuFit(gpu, gpu.pj_per_flop, gpu.step_j, power, fitted=True)
    fitted = sorted(
        (other.tdp_w / other.bf16_tflops, other.pj_per_flop)
        for other in factors.gpus.values()
        if other.pj_per_flop is not None
    )
    ratio = gpu.tdp_w / gpu.bf16_tflops
    step_j = constants["gpu.step_j_per_tdp_w"].value * gpu.tdp_w
    if ratio <= fitted[0][0] or ratio >= fitted[-1][0]:
        nearest, energy = fitted[0] if ratio <= fitted[0][0] else fitted[-1]
        return GpuFit(gpu, energy * ratio / nearest, step_j, power, fitted=False)
    index = next(i for i, (known, _) in enumerate(fitted) if ratio <= known)
    (ratio0, energy0), (ratio1, energy1) = fitted[index - 1], fitted[index]
    slope = log(energy1 / energy0) / log(ratio1 / ratio0)
    return GpuFit(gpu, energy0 * exp(slope * log(ratio / ratio0)), step_j, power, fitted=False)


@lru_cache(maxsize=256)
def gpu_uses(fit: GpuFit, factors: FactorSet) -> tuple[FactorUse, FactorUse]:
    """The coefficients of a GPU as they are shown in a footprint."""
    note = None if fit.fitted else "scaled by board power over throughput from measured GPUs"
    gpu = fit.gpu
    return (
        factors.use(f"gpu.{gpu.id}.pj_per_flop", fit.pj_per_flop, "pJ per FLOP", gpu, note),
        factors.use(f"gpu.{gpu.id}.step_j", fit.step_j, "J per step and batch", gpu, note),
    )


@lru_cache(maxsize=256)
def power_use(fit: GpuFit, factors: FactorSet) -> FactorUse:
    """The power of a GPU while generating, as it is shown in a footprint."""
    return factors.use(f"gpu.{fit.gpu.id}.power_w", fit.power_w, "W", fit.gpu)


@lru_cache(maxsize=8)
def _gpu_patterns(factors: FactorSet) -> tuple[tuple[re.Pattern[str], Gpu], ...]:
    """Longest names first, so that L40S is not taken for L40; a name does not continue a word or a number."""
    names = [(name, gpu) for gpu in factors.gpus.values() for name in (gpu.id, *gpu.names)]
    names.sort(key=lambda pair: -len(pair[0]))
    return tuple(
        (
            re.compile(
                r"(?<![A-Za-z0-9])(?:\d+x)?"
                + r"[\s_-]*".join(map(re.escape, re.split(r"[\s-]", name)))
                + r"(?!\d)",
                re.IGNORECASE,
            ),
            gpu,
        )
        for name, gpu in names
    )
