"""The ways to know the energy of a request, best first: metered, gpu_time, anchor, flops, tokens, proxy.

Each answers at the level that it sees (GPU, IT or facility), for all images of the request. Refuses to know
places, water and carbon.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.footprint.diffusion import diffusion_energy, flops_use
from gateway.footprint.gpu_energy import tflop_per_forward
from gateway.footprint.hardware import DEFAULT_GPU, find_hardware, fit_of, gpu_uses, power_use
from gateway.footprint.method_energy import MethodEnergy, spread_of, warnings_for
from gateway.footprint.quantities import FactorUse
from gateway.footprint.tokens import counts_size, image_tokens

if TYPE_CHECKING:
    from gateway.footprint.catalogue import Resolved
    from gateway.footprint.factors import FactorSet
    from gateway.footprint.quantities import ImageWork, Site

PROXY_ARCHITECTURE = "sd3.5-large"
PROXY_SIZE = 1024
PROXY_STEPS = 28


def energy_of(work: ImageWork, resolved: Resolved, site: Site, factors: FactorSet) -> MethodEnergy:
    """The best method that the request and its measurements allow."""
    kind = resolved.found.model.kind
    if _measured(work.measured_node_wh):
        return _metered(work, site, factors)
    if _measured(work.measured_gpu_seconds):
        return _gpu_time(work, site, factors)
    if kind == "diffusion":
        return diffusion_energy(work, resolved, site, factors)
    if kind == "tokens":
        return _tokens(work, resolved, site, factors)
    return _proxy(work, resolved, site, factors)


def _measured(value: float | None) -> bool:
    """A measurement of nothing is no measurement."""
    return value is not None and value > 0


def _metered(work: ImageWork, site: Site, factors: FactorSet) -> MethodEnergy:
    hardware, node_wh = find_hardware(site, factors), work.measured_node_wh or 0.0
    return MethodEnergy(
        method="metered",
        level="it",
        wh=node_wh,
        spread=spread_of(["metered"], factors),
        formula="E_IT = node_wh",
        inputs={"node_wh": node_wh},
        gpu=hardware.gpu,
        gpu_seconds=work.measured_gpu_seconds if _measured(work.measured_gpu_seconds) else None,
        uses=(FactorUse("measured.node_wh", node_wh, "IT Wh", "meter of the operator"),),
        assumptions=hardware.gpu_assumptions,
    )


def _gpu_time(work: ImageWork, site: Site, factors: FactorSet) -> MethodEnergy:
    hardware, seconds = find_hardware(site, factors), work.measured_gpu_seconds or 0.0
    return MethodEnergy(
        method="gpu_time",
        level="gpu",
        wh=seconds * hardware.gpu.power_w / 3600,
        spread=spread_of(["gpu_time", *hardware.gpu_terms], factors),
        formula="E_GPU = gpu_seconds * P / 3600",
        inputs={"gpu_seconds": seconds, "P": hardware.gpu.power_w},
        gpu=hardware.gpu,
        gpu_seconds=seconds,
        uses=(
            FactorUse("measured.gpu_seconds", seconds, "GPU s", "measured by the image server"),
            power_use(hardware.gpu, factors),
        ),
        assumptions=hardware.gpu_assumptions,
    )


def _tokens(work: ImageWork, resolved: Resolved, site: Site, factors: FactorSet) -> MethodEnergy:
    model = resolved.found.model
    rule = factors.token_rules[model.token_rule or ""]
    per_token = factors.constant_uses[model.energy or ""]
    hardware = find_hardware(site, factors)
    terms = ["tokens"]
    told: list[str] = []
    if _measured(work.measured_output_tokens):
        tokens = work.measured_output_tokens or 0
        count = FactorUse("measured.output_tokens", tokens, "output tokens", "usage of the image service")
    else:
        partials = max(0, work.partial_images) * rule.partial_image_tokens
        each = image_tokens(rule, resolved.width, resolved.height, resolved.quality) * max(1, work.frames)
        tokens = max(1, work.n) * (each + partials)
        count = factors.use(f"tokens.{rule.id}", tokens, "output tokens", rule)
        published = counts_size(rule, resolved.width, resolved.height)
        if model.caution or resolved.found.guessed or not published:
            terms.append("token_count")
    if work.input_images > 0:
        told.append("Reading the input images is not in the token rule; the bounds are widened.")
        terms.append("input_images")
    if not hardware.named:
        told.append(f"Hardware not disclosed: embodied carbon as on {DEFAULT_GPU}.")
    return MethodEnergy(
        method="tokens",
        level="facility",
        wh=tokens * per_token.value / 1000,
        spread=spread_of(terms, factors),
        formula="E_facility = output_tokens * e_token / 1000",
        inputs={"output_tokens": tokens, "e_token": per_token.value},
        gpu=hardware.gpu,
        uses=(count, per_token),
        assumptions=tuple(told),
        warnings=warnings_for(resolved.found, terms),
    )


def _proxy(work: ImageWork, resolved: Resolved, site: Site, factors: FactorSet) -> MethodEnergy:
    """A band for diffusion models about which nothing is disclosed; it holds every data-centre GPU."""
    base = factors.constant_uses["proxy.gpu_wh"]
    hardware = find_hardware(site, factors)
    size = tflop_per_forward(PROXY_ARCHITECTURE, resolved.pixels, factors) / tflop_per_forward(
        PROXY_ARCHITECTURE, PROXY_SIZE * PROXY_SIZE, factors
    )
    longer = max(1.0, resolved.steps / PROXY_STEPS)
    scale = hardware.gpu.pj_per_flop / fit_of(factors.gpus[DEFAULT_GPU], factors).pj_per_flop
    uses = [base, flops_use(PROXY_ARCHITECTURE, resolved.width, resolved.height, factors)]
    if hardware.named:
        uses.append(gpu_uses(hardware.gpu, factors)[0])
    if hardware.precision == "fp32":
        scale *= factors.constants["gpu.fp32_per_bf16"].value
        uses.append(factors.constant_uses["gpu.fp32_per_bf16"])
    if hardware.share > 1:
        uses.append(factors.constant_uses["gpu.sharing"])
    images = max(1, work.n) * max(1, work.frames) * (1 + max(0, work.input_images))
    terms = ["proxy", *(term for term in hardware.terms if term != "gpu_unknown")]
    if resolved.found.unknown:
        terms.append("unknown_model")
    elif resolved.found.guessed:
        terms.append("guessed")
    return MethodEnergy(
        method="proxy",
        level="gpu",
        wh=images * base.value * size * longer * scale * hardware.share,
        spread=spread_of(terms, factors),
        formula="E_GPU = images * E_proxy * size * longer * e * sharing",
        inputs={
            "images": images,
            "E_proxy": base.value,
            "size": size,
            "longer": longer,
            "e": scale,
            "sharing": hardware.share,
        },
        gpu=hardware.gpu,
        uses=tuple(uses),
        assumptions=hardware.gpu_assumptions + hardware.other_assumptions if hardware.named else (),
        warnings=warnings_for(resolved.found, terms),
    )
