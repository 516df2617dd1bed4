"""deployments.yaml: what exists, and how mistakes in it are told."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from gateway.errors import ConfigError
from gateway.upstreams.deployment_file import OPENAI_IMAGE_MODELS, load_deployments, openai_deployments
from gateway.upstreams.deployments import Defaults, Deployment, Hardware, Location
from gateway.upstreams.rules import OutlierDetection, Retries, Rules, Signals, SignalSource, Weights

ROOT = Path(__file__).parents[2]
GALLERY = ROOT / "tests" / "deployments"
GOOD = sorted((GALLERY / "good").glob("*.yaml"))
BAD = sorted((GALLERY / "bad").glob("*.yaml"))


def known_zone(zone: str) -> bool:
    return zone != "XX"


def known_gpu(gpu: str) -> bool:
    return gpu != "H9000"


def test_the_gallery_is_not_empty() -> None:
    assert len(GOOD) > 1
    assert len(BAD) > 40


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_each_mistake_is_refused_with_its_place_and_its_sentence(path: Path) -> None:
    expected = path.read_text().splitlines()[0].removeprefix("# expect: ")

    with pytest.raises(ConfigError) as caught:
        load_deployments(path, environ={"KEY": "k"}, known_zone=known_zone, known_gpu=known_gpu)

    assert [str(problem) for problem in caught.value.problems] == [f"{path}:{expected}"]


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_each_good_file_is_read(path: Path) -> None:
    assert load_deployments(path, environ=None, known_zone=known_zone, known_gpu=known_gpu).deployments


def test_a_full_deployment_has_everything_that_its_file_says() -> None:
    environ = {"FLUX_SE_KEY": "f", "OPENAI_API_KEY": "o", "WATTTIME": "u:p"}

    loaded = load_deployments(GALLERY / "good" / "full.yaml", environ=environ)

    assert loaded.rules == Rules(
        objective="weighted",
        weights=Weights(carbon=1, water=0.5, price=0.1, latency=0.2),
        usd_per_image=0.08,
        latency_p95_s=60,
        residency=("eu", "gb"),
        min_gain=0.1,
        unknown_region="mix",
        queue_s=0.5,
        on_short_deadline="refuse",
        retries=Retries(max_attempts=3, ambiguous=1),
        outlier_detection=OutlierDetection(
            consecutive_5xx=3,
            interval_s=20,
            base_ejection_time_s=400,
            max_ejection_time_s=400,
            max_ejection_percent=25,
        ),
    )
    assert loaded.signals == Signals(
        kind="marginal",
        sources=(
            SignalSource("watttime", ("US-CAL-CISO",), "CAISO_NORTH", SecretStr("u:p")),
            SignalSource("neso", base_url="http://127.0.0.1:8099"),
        ),
        history=GALLERY / "good" / "grid.csv",
    )
    assert loaded.version.startswith("sha256:")
    assert loaded.models() == ("starter-pack", "flux", "gpt-image-2")
    assert loaded.deployments[0] == Deployment(
        id="flux-se",
        models=("starter-pack", "flux"),
        base_url="https://flux.se.example:8443/v1",
        api_key=SecretStr("f"),
        upstream_model="black-forest-labs/FLUX.1-dev",
        location=Location(provider="self", region="eu-north-1", zone="SE-SE3", pin="region"),
        hardware=Hardware(gpu="H100", num_gpus=2, precision="bf16", batch=4, pue=1.1, wue_l_per_kwh=0.0),
        defaults=Defaults(steps=28, size="1024x768", quality="medium"),
        concurrency=20,
        usd_per_image=0.04,
        api_version="2025-04-01-preview",
        drop_params=frozenset({"style", "moderation"}),
        on_disconnect="finish",
        unknown_params="refuse",
    )


def test_what_a_file_does_not_say_is_unknown() -> None:
    (deployment,) = load_deployments(GALLERY / "good" / "minimal.yaml", environ={}).deployments

    assert deployment == Deployment(id="local", models=("sdxl",), base_url="http://127.0.0.1:8000")


def test_a_missing_variable_is_named_and_no_secret_is_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        load_deployments(GALLERY / "good" / "full.yaml", environ={"FLUX_SE_KEY": "sesame", "WATTTIME": "u:p"})

    (problem,) = caught.value.problems
    assert problem.message == "deployments[1].api_key: the environment variable OPENAI_API_KEY is not set"
    environ = dict.fromkeys(("FLUX_SE_KEY", "OPENAI_API_KEY", "WATTTIME"), "sesame")
    assert "sesame" not in repr(load_deployments(GALLERY / "good" / "full.yaml", environ=environ))


@pytest.mark.parametrize(
    "path", [path for path in BAD if path.stem.startswith(("api-key", "base-url-credentials"))]
)
def test_messages_never_repeat_a_credential(path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_deployments(path, environ={})

    assert not any(secret in str(caught.value) for secret in ("sk-", "Bearer", "1234567890", "u:p"))


def test_mistakes_in_zones_and_gpus_are_reported_with_all_others(tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    path.write_text(
        "deployments:\n"
        "  - {id: a, model: m, base_url: http://a, location: {zone: XX}, hardware: {gpu: H9000}}\n"
        "  - {id: a, model: m, base_url: http://a, location: {zone: FR}, hardware: {gpu: H100}}\n"
    )

    with pytest.raises(ConfigError) as caught:
        load_deployments(path, environ={}, known_zone=known_zone, known_gpu=known_gpu)

    assert [problem.message for problem in caught.value.problems] == [
        "deployments[0].location.zone: there are no factors for zone 'XX'",
        "deployments[0].hardware.gpu: there are no factors for GPU 'H9000'",
        "deployments[1].id: 'a' is already the id of the deployment on line 2",
    ]


def test_without_a_file_one_deployment_offers_the_live_openai_models() -> None:
    offered = openai_deployments(SecretStr("sk-x"))

    (deployment,) = offered.deployments
    assert (deployment.id, deployment.base_url) == ("openai-direct", "https://api.openai.com/v1")
    assert (deployment.location.provider, deployment.location.pin, deployment.location.zone) == (
        "openai",
        "unknown",
        None,
    )
    assert offered.models() == OPENAI_IMAGE_MODELS
    assert offered.serving("gpt-image-2") == (deployment,)


def test_the_example_that_we_ship_is_good() -> None:
    loaded = load_deployments(ROOT / "deploy" / "deployments.example.yaml", environ=None)

    assert [deployment.id for deployment in loaded.serving("starter-pack")] == ["flux-se", "flux-fr"]
