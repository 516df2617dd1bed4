"""`ecogate estimate`: what images would cost in energy, water and carbon, without a gateway or a network."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def estimate(
    model: Annotated[str, typer.Option(help="Model name: a Hugging Face id, OpenAI's name or a short name")],
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels")] = None,
    steps: Annotated[int | None, typer.Option(min=1, max=1000)] = None,
    quality: Annotated[str | None, typer.Option()] = None,
    n: Annotated[int, typer.Option(min=1, max=10, help="How many images")] = 1,
    gpu: Annotated[str | None, typer.Option(help="Such as H100")] = None,
    precision: Annotated[str | None, typer.Option(help="Such as bf16")] = None,
    batch: Annotated[int | None, typer.Option(min=1)] = None,
    region: Annotated[str | None, typer.Option(help="The cloud's word, such as eu-north-1")] = None,
    provider: Annotated[str | None, typer.Option(help="Such as aws, azure or gcp")] = None,
    zone: Annotated[str | None, typer.Option(help="Electricity zone, such as FR")] = None,
    partial_images: Annotated[int, typer.Option(min=0, max=3)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Every step with factors and sources")] = False,
) -> None:
    """Estimate the footprint of a request for images, with its band and its sources."""
    from gateway.footprint.estimate import estimate as footprint_of
    from gateway.footprint.factors import load_factors
    from gateway.footprint.quantities import ImageWork, Site
    from gateway.images.request import read_size

    pixels = read_size(size) if size is not None else (None, None)
    if pixels is None:
        raise typer.BadParameter("must be WIDTHxHEIGHT in pixels", param_hint="--size")
    work = ImageWork(
        model=model,
        n=n,
        width=pixels[0],
        height=pixels[1],
        quality=quality,
        steps=steps,
        partial_images=partial_images,
    )
    site = Site(provider=provider, region=region, zone=zone, gpu=gpu, precision=precision, batch=batch)
    footprint = footprint_of(work, site, load_factors())
    if as_json:
        typer.echo(json.dumps(footprint.as_json(explain=True)))
        return
    rows = {
        "energy": (footprint.energy_wh, "Wh"),
        "water": (footprint.water_ml, "mL"),
        "carbon": (footprint.carbon_g, "gCO2e"),
    }
    typer.echo(
        f"{n} image(s) of {model}, estimated by {footprint.method} in zone {footprint.zone or 'unknown'}"
    )
    for name, (quantity, unit) in rows.items():
        band = f"{quantity.low:.3g} to {quantity.high:.3g}"
        typer.echo(f"  {name:8}{quantity.central:10.4g} {unit:6} ({band})")
    for line in (*footprint.warnings, *footprint.assumptions):
        typer.echo(f"  - {line}")
