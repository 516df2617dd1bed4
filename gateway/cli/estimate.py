"""`ecogate estimate`: what images would cost in energy, water and carbon, without a gateway or a network.

One question on the command line, or one JSON object per line from standard input. Refuses to know formulas.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.errors import ConfigError, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.footprint.factors import FactorSet
    from gateway.footprint.quantities import Footprint
    from gateway.footprint.question import Question


def estimate(
    model: Annotated[
        str | None, typer.Option(help="Model name: a Hugging Face id, OpenAI's name or a short name")
    ] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels, or auto")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps")] = None,
    quality: Annotated[str | None, typer.Option(help="Such as low, medium, high, auto")] = None,
    n: Annotated[int, typer.Option(help="How many images")] = 1,
    cfg: Annotated[
        float | None,
        typer.Option(help="1 or 2: denoiser forwards per step; any other number is a guidance scale"),
    ] = None,
    strength: Annotated[float | None, typer.Option(help="Of an edit, 0 to 1")] = None,
    partial_images: Annotated[int, typer.Option(help="Previews while streaming")] = 0,
    frames: Annotated[int, typer.Option(help="Frames of an animation")] = 1,
    input_images: Annotated[int | None, typer.Option(help="Images that are edited or referred to")] = None,
    gpu: Annotated[str | None, typer.Option(help="Such as H100 or A100-SXM4-40GB")] = None,
    num_gpus: Annotated[int | None, typer.Option(help="GPUs that share one image")] = None,
    precision: Annotated[str | None, typer.Option(help="Such as bf16, fp32 or fp8")] = None,
    batch: Annotated[int | None, typer.Option(help="Images that run together")] = None,
    region: Annotated[str | None, typer.Option(help="The cloud's word, such as eu-north-1")] = None,
    provider: Annotated[str | None, typer.Option(help="Such as aws, azure, gcp or self")] = None,
    zone: Annotated[str | None, typer.Option(help="Electricity zone, such as FR or US-CAL-CISO")] = None,
    pue: Annotated[float | None, typer.Option(help="Facility over IT energy")] = None,
    wue: Annotated[float | None, typer.Option(help="Litres of water per IT kWh")] = None,
    carbon_intensity: Annotated[
        float | None, typer.Option(help="gCO2e per kWh, life-cycle, instead of the zone's yearly value")
    ] = None,
    market_intensity: Annotated[
        float | None, typer.Option(help="gCO2e per kWh by contracts: shown beside, never netted")
    ] = None,
    gpu_seconds: Annotated[float | None, typer.Option(help="Measured GPU time of the whole request")] = None,
    node_wh: Annotated[float | None, typer.Option(help="Measured IT energy of the whole request")] = None,
    output_tokens: Annotated[int | None, typer.Option(help="Counted image tokens of the request")] = None,
    factors: Annotated[
        Path | None,
        typer.Option(envvar="ECOGATE_FACTORS", help="YAML file (or folder) of factors over the bundled ones"),
    ] = None,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Read one JSON request per line from standard input")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Every step with numbers and sources")] = False,
) -> None:
    """Estimate the footprint of a request for images, with its band and its sources."""
    from gateway.footprint.factor_files import factor_paths
    from gateway.footprint.factors import load_factors
    from gateway.footprint.question import read_question

    asked = {
        "model": model, "size": size, "steps": steps, "quality": quality, "n": n, "cfg": cfg,
        "strength": strength, "partial_images": partial_images, "frames": frames,
        "input_images": input_images, "gpu": gpu, "num_gpus": num_gpus, "precision": precision,
        "batch": batch, "region": region, "provider": provider, "zone": zone, "pue": pue,
        "wue_l_per_kwh": wue, "carbon_intensity_g_per_kwh": carbon_intensity,
        "market_carbon_intensity_g_per_kwh": market_intensity, "gpu_seconds": gpu_seconds,
        "node_wh": node_wh, "output_tokens": output_tokens,
    }  # fmt: skip
    try:
        known = load_factors(factor_paths(factors))
    except ConfigError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    if jsonl:
        failed = False
        for result in answers(sys.stdin.buffer, known):
            failed = failed or "error" in result
            typer.echo(json.dumps(result))
        raise typer.Exit(1 if failed else 0)
    try:
        question = read_question(asked)
    except InvalidRequest as error:
        raise typer.BadParameter(str(error)) from None
    if as_json:
        typer.echo(json.dumps(answer(question, known)))
    else:
        _show(question, known)


def answers(lines: Iterable[bytes], factors: FactorSet) -> Iterator[dict[str, Any]]:
    """One result per line that is not blank; a line that is wrong gives an `error` and stops nothing."""
    from gateway.footprint.question import read_question
    from gateway.images.strict_json import read_object

    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield {"line": number, **answer(read_question(read_object(line)), factors)}
        except InvalidRequest as error:
            yield {"line": number, "error": {"message": f"line {number}: {error}"}}


def answer(question: Question, factors: FactorSet) -> dict[str, Any]:
    """The explained footprint of the whole request, and the GPU energy of one image beside it."""
    footprint = _footprint(question, factors)
    each = footprint.gpu_energy_wh_per_image
    return {
        **({"id": question.id} if question.id is not None else {}),
        "model": question.model,
        "gpu_energy_wh": each.as_json() if each else None,
        "gpu_energy_basis": "GPU only, per image",
        **footprint.as_json(explain=True),
    }


def _footprint(question: Question, factors: FactorSet) -> Footprint:
    from gateway.footprint.estimate import estimate as footprint_of

    return footprint_of(question.work(), question.site(), factors)


def _show(question: Question, factors: FactorSet) -> None:
    footprint = _footprint(question, factors)
    rows = {
        "energy": (footprint.energy_wh, "Wh"),
        "water": (footprint.water_ml, "mL"),
        "carbon": (footprint.carbon_g, "gCO2e"),
    }
    typer.echo(
        f"{question.n} image(s) of {question.model}, estimated by {footprint.method} "
        f"in zone {footprint.zone or 'unknown'}"
    )
    for name, (quantity, unit) in rows.items():
        band = f"{quantity.low:.3g} to {quantity.high:.3g}"
        typer.echo(f"  {name:8}{quantity.central:10.4g} {unit:6} ({band})")
    for line in (*footprint.warnings, *footprint.assumptions):
        typer.echo(f"  - {line}")
