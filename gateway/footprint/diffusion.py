"""The energy of open diffusion models: `anchor` where the network was measured on this GPU, else `flops`.

Refuses to know places.
"""

from __future__ import annotations

from functools import lru_cache
from math import log
from typing import TYPE_CHECKING

from gateway.footprint.bands import Spread, combine
from gateway.footprint.catalogue import runs_few_steps
from gateway.footprint.gpu_energy import (
    VAE,
    Calibration,
    Conditions,
    calibration,
    counted_range,
    formula_numbers,
    formula_wh,
    tflop_per_forward,
)
from gateway.footprint.hardware import GpuFit, find_hardware, gpu_uses
from gateway.footprint.known import spread
from gateway.footprint.method_energy import MethodEnergy, spread_of, warnings_for

if TYPE_CHECKING:
    from gateway.footprint.catalogue import Resolved
    from gateway.footprint.factors import FactorSet
    from gateway.footprint.hardware import Hardware
    from gateway.footprint.quantities import FactorUse, ImageWork, Site

SAME_SIZE = log(1.01)
FORMULA = (
    "E_GPU = images * (sharing * k * (e * (passes * steps * F + runs * F_vae) + c * steps / batch)"
    " + wait * steps / batch) / 3600"
)
FORMULA_FP32 = (
    "E_GPU = images * (sharing * k * e * fp32 * (passes * steps * F + runs * F_vae)"
    " + wait * steps / batch) / 3600"
)


def diffusion_energy(work: ImageWork, resolved: Resolved, site: Site, factors: FactorSet) -> MethodEnergy:
    """GPU energy of all images from counted work, calibrated by the nearest public measurement."""
    model = resolved.found.model
    architecture = model.architecture or ""
    hardware = find_hardware(site, factors)
    inputs, partials = max(0, work.input_images), max(0, work.partial_images)
    conditions = Conditions(
        architecture=architecture,
        pixels=resolved.pixels,
        steps=resolved.steps,
        passes=resolved.passes,
        batch=hardware.batch,
        precision=hardware.precision,
        sequence=1.0 + (inputs if model.inputs_in_sequence else 0),
        vae_runs=1.0 + partials + inputs * factors.constants["vae.encode_per_decode"].value,
    )
    each_wh = formula_wh(conditions, hardware.gpu, factors)
    measured = calibration(conditions, hardware.gpu.gpu.id, factors)
    uses = list(_formula_uses(architecture, resolved.width, resolved.height, hardware.gpu, factors))
    seconds_each: float | None = None
    if measured is not None:
        each_wh *= measured.ratio
        uses.append(_anchor_use(measured, factors))
    each_wh = each_wh * hardware.share + hardware.wait_j * resolved.steps / hardware.batch / 3600
    if measured is not None and measured.own and measured.gpu_s_per_wh is not None:
        seconds_each = each_wh * measured.gpu_s_per_wh
    uses.extend(factors.constant_uses[name] for name in _constants_used(hardware, inputs))
    terms = (*hardware.terms, *_terms(resolved, inputs, measured, factors))
    images = max(1, work.n) * max(1, work.frames)
    return MethodEnergy(
        method="anchor" if measured is not None and measured.own and hardware.named else "flops",
        level="gpu",
        wh=images * each_wh,
        spread=combine(_calibration_spread(measured, factors), spread_of(terms, factors)),
        formula=FORMULA_FP32 if hardware.precision == "fp32" else FORMULA,
        inputs={
            "images": images,
            "sharing": hardware.share,
            "k": 1.0 if measured is None else measured.ratio,
            "wait": hardware.wait_j,
            "batch": hardware.batch,
            **formula_numbers(conditions, hardware.gpu, factors),
        },
        gpu=hardware.gpu,
        gpu_seconds=seconds_each * images if seconds_each else None,
        uses=tuple(uses),
        assumptions=hardware.gpu_assumptions + hardware.other_assumptions,
        warnings=warnings_for(resolved.found, terms),
    )


def flops_use(architecture: str, width: int, height: int, factors: FactorSet) -> FactorUse:
    """The counted work of one forward as it is shown in a footprint."""
    work = tflop_per_forward(architecture, width * height, factors)
    entry = factors.architectures.get(architecture) or factors.flops[architecture]
    return factors.use(f"flops.{architecture}", work, f"TFLOP per forward at {width}x{height}", entry)


def _terms(
    resolved: Resolved, inputs: int, measured: Calibration | None, factors: FactorSet
) -> tuple[str, ...]:
    model = resolved.found.model
    architecture = model.architecture or ""
    smallest, largest = counted_range(architecture, factors)
    applies = {
        "few_step": runs_few_steps(model, resolved.steps),
        "derived": architecture in factors.architectures and measured is None,
        "guessed": resolved.found.guessed,
        "uncounted_size": not smallest <= resolved.pixels <= largest,
        "input_images": inputs > 0,
        "steps_assumed": resolved.steps_assumed,
    }
    return tuple(term for term, needed in applies.items() if needed)


def _constants_used(hardware: Hardware, inputs: int) -> list[str]:
    used = ["gpu.fp32_per_bf16"] if hardware.precision == "fp32" else []
    used += ["gpu.sharing", "gpu.sharing_step_j_per_tdp_w"] if hardware.share > 1 else []
    used += ["vae.encode_per_decode"] if inputs else []
    return used


def _calibration_spread(measured: Calibration | None, factors: FactorSet) -> Spread:
    if measured is None:
        return spread(factors, "flops")
    base = spread(factors, "anchor" if measured.own else "transfer")
    return combine(base, spread(factors, "anchor_distance").scaled(abs(measured.distance)))


@lru_cache(maxsize=4096)
def _formula_uses(
    architecture: str, width: int, height: int, fit: GpuFit, factors: FactorSet
) -> tuple[FactorUse, ...]:
    return (
        flops_use(architecture, width, height, factors),
        flops_use(VAE, width, height, factors),
        *gpu_uses(fit, factors),
    )


@lru_cache(maxsize=1024)
def _anchor_use(measured: Calibration, factors: FactorSet) -> FactorUse:
    anchor = measured.anchor
    unit = (
        f"GPU Wh per image at {anchor.size}, {anchor.steps} steps, batch {anchor.batch}, {anchor.precision}"
    )
    far = "" if abs(measured.distance) < SAME_SIZE else "; scaled to the asked size by counted work"
    note = f"measured over formula {measured.ratio:.3f}{far}{f'; {anchor.note}' if anchor.note else ''}"
    id_ = f"anchor.{anchor.architecture}.{anchor.gpu}.{anchor.precision}.b{anchor.batch}"
    return factors.use(id_, anchor.gpu_wh, unit, anchor, note)
