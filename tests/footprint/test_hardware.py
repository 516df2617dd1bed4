from __future__ import annotations

import pytest

from gateway.footprint.factors import load_factors
from gateway.footprint.hardware import find_gpu, find_hardware, fit_of, precision_of
from gateway.footprint.quantities import Site


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("h100", "H100"),
        ("H100-80GB", "H100"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("8xH100", "H100"),
        ("A100-SXM4-40GB", "A100"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("B200", "B200"),
        ("L40S", "L40S"),
        ("L40", "L40"),
        ("L4", "L4"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("rtx4090", "RTX 4090"),
        ("NVIDIA RTX A6000", "RTX A6000"),
        ("A10G", "A10G"),
        ("A10", "A10"),
        ("AMD Instinct MI300X", "MI300X"),
    ],
)
def test_a_gpu_is_found_by_family(name: str, family: str) -> None:
    gpu = find_gpu(name, load_factors())

    assert gpu is not None
    assert gpu.id == family


@pytest.mark.parametrize("name", [None, "", "abacus", "RTX A1000", "A1000", "XH100Y5"])
def test_another_name_is_no_gpu(name: str | None) -> None:
    assert find_gpu(name, load_factors()) is None


def test_a_scaled_gpu_lies_between_measured_ones_or_beyond_in_proportion() -> None:
    factors = load_factors()
    fits = {name: fit_of(gpu, factors) for name, gpu in factors.gpus.items()}

    assert fits["H200"].pj_per_flop == pytest.approx(2.32)
    assert 1.92 < fits["L4"].pj_per_flop < 2.32
    assert fits["RTX 4090"].pj_per_flop == pytest.approx(3.02 * (450 / 165.2) / (400 / 312))
    assert not fits["RTX 4090"].fitted


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, ("bf16", True)),
        ("FP16", ("bf16", True)),
        ("fp16/bf16", ("bf16", True)),
        ("torch.bfloat16", ("bf16", True)),
        ("bf16-mixed", ("bf16", True)),
        ("fp32/TF32 (inferred)", ("fp32", True)),
        ("TF32", ("fp32", True)),
        ("32", ("fp32", True)),
        ("float8_e4m3fn", ("quantised", True)),
        ("bf16 weights, fp8 matmul", ("quantised", True)),
        ("w8a8", ("quantised", True)),
        ("8-bit", ("quantised", True)),
        ("Q4_K_M", ("quantised", True)),
        ("svdquant", ("quantised", True)),
        ("float32", ("fp32", True)),
        ("fp8", ("quantised", True)),
        ("nvfp4", ("quantised", True)),
        ("sepia", ("quantised", False)),
    ],
)
def test_precision_is_read_in_any_spelling(name: str | None, expected: tuple[str, bool]) -> None:
    assert precision_of(name) == expected


def test_what_nobody_said_is_told() -> None:
    told = find_hardware(Site(), load_factors())

    assert not told.named
    assert told.gpu_terms == ("gpu_unknown",)
    assert len(told.gpu_assumptions + told.other_assumptions) == 3


def test_gpus_that_share_an_image_use_more_energy() -> None:
    eight, one = (find_hardware(Site(gpu="H100", num_gpus=n), load_factors()) for n in (8, 1))

    assert (eight.share, eight.wait_j) == pytest.approx((1 + 3 * 0.17, 7 * 0.012 * 700))
    assert (one.share, one.wait_j) == (1.0, 0.0)
