from __future__ import annotations

from collections import Counter

import pytest

from gateway.footprint.catalogue import find_model, resolve
from gateway.footprint.factors import load_factors
from gateway.footprint.quantities import ImageWork


@pytest.mark.parametrize(
    ("name", "model", "guessed"),
    [
        ("black-forest-labs/FLUX.1-dev", "flux.1-dev", False),
        ("FLUX.1-schnell", "flux.1-schnell", False),
        ("black-forest-labs/FLUX.1-schnell-Free", "flux.1-schnell", False),
        ("black-forest-labs/FLUX.2-dev", "flux.2-dev", False),
        ("black-forest-labs/FLUX.1.1-pro", "closed-diffusion", True),
        ("stabilityai/stable-diffusion-xl-base-1.0", "stable-diffusion-xl", False),
        ("stabilityai/sdxl-turbo", "sdxl-turbo", False),
        ("stabilityai/stable-diffusion-3-medium-diffusers", "stable-diffusion-3-medium", False),
        ("stabilityai/stable-diffusion-3.5-large", "stable-diffusion-3.5-large", False),
        ("stable-diffusion-v1-5/stable-diffusion-v1-5", "stable-diffusion-1.5", False),
        ("prompthero/openjourney-v4", "stable-diffusion-1.5", False),
        ("stabilityai/stable-diffusion-2-1", "stable-diffusion-2.1", False),
        ("PixArt-alpha/PixArt-Sigma-XL-2-1024-MS", "pixart-sigma", False),
        ("Efficient-Large-Model/SANA1.5_1.6B_1024px_diffusers", "sana-1.5-1.6b", False),
        ("Efficient-Large-Model/SANA1.5_4.8B_1024px_diffusers", "sana-1.5-4.8b", False),
        ("Qwen/Qwen-Image", "qwen-image", False),
        ("Tongyi-MAI/Z-Image-Turbo", "z-image-turbo", False),
        ("Tencent-Hunyuan/HunyuanDiT-v1.2-Diffusers", "hunyuandit", False),
        ("kandinsky-community/kandinsky-3", "kandinsky-3", False),
        ("fal/AuraFlow", "auraflow", False),
        ("gpt-image-1", "gpt-image-1", False),
        ("openai/gpt-image-1.5", "gpt-image-1", False),
        ("gpt-image-1-mini", "gpt-image-1-mini", False),
        ("gpt-image-2-2026-04-21", "gpt-image-2", False),
        ("gpt-image-2.5-sunburst-2026-09-08", "gpt-image-2.5", False),
        ("gpt-image-2.6-flare", "gpt-image-newest", False),
        ("chatgpt-image-latest", "gpt-image-newest", False),
        ("gpt-image-7", "gpt-image-newest", True),
        ("gemini-3-pro-image-preview", "gemini-3-pro-image", False),
        ("gemini-3.1-flash-image", "gemini-3.1-flash-image", False),
        ("nano-banana-pro", "gemini-3-pro-image", False),
        ("gemini-9-image", "gemini-image-newest", True),
        ("stabilityai/stable-diffusion-3.5-large-turbo", "stable-diffusion-3.5-large-turbo", False),
        ("ByteDance/SDXL-Lightning", "sdxl-few-step", False),
        ("segmind/SSD-1B", "ssd-1b", False),
        ("Kwai-Kolors/Kolors-diffusers", "kolors", False),
        ("dall-e-3", "closed-diffusion", False),
        ("imagen-4.0-ultra-generate-001", "closed-diffusion", True),
        ("my-team/cats-flux-lora", "flux.1-dev", True),
        ("someone/photoreal_sdxl_v9", "stable-diffusion-xl", True),
        ("amazon.titan-image-generator-v2:0", "closed-diffusion", True),
        ("stability.sd3-5-large-v1:0", "stable-diffusion-3.5-large", True),
        ("PixArt-alpha/PixArt-LCM-XL-2-1024-MS", "pixart-alpha", True),
        ("Lykon/dreamshaper-xl-1-0", "sdxl-by-name", True),
        ("SG161222/Realistic_Vision_V5.1_noVAE", "stable-diffusion-1.5", False),
        ("whatever", "unknown", False),
        ("", "unknown", False),
    ],
)
def test_every_spelling_leads_to_its_model(name: str, model: str, guessed: bool) -> None:
    found = find_model(name, load_factors())

    assert (found.model.id, found.guessed) == (model, guessed)


def test_no_name_belongs_to_two_models() -> None:
    names = Counter(name for model in load_factors().models.values() for name in model.names)

    assert not [name for name, count in names.items() if count > 1]


def test_each_name_of_the_catalogue_finds_its_own_model() -> None:
    factors = load_factors()
    for model in factors.models.values():
        for name in model.names:
            assert find_model(name, factors).model is model, name


def test_a_few_step_model_run_for_longer_executes_guidance() -> None:
    def passes(model: str, steps: int) -> int:
        return resolve(ImageWork(model, steps=steps), load_factors()).passes

    assert (passes("sdxl-turbo", 4), passes("sdxl-turbo", 25)) == (1, 2)
    assert (passes("flux.1-schnell", 4), passes("flux.1-schnell", 25)) == (1, 1)
    assert (passes("sdxl", 4), passes("sd3.5-large", 28), passes("flux.1-dev", 50)) == (2, 2, 1)


@pytest.mark.parametrize(
    ("model", "scale", "passes"),
    [
        ("sdxl", 7.5, 2),
        ("sdxl", 1.0, 1),
        ("sdxl", 0.0, 1),
        ("flux.1-dev", 3.5, 1),
        ("sdxl-turbo", 5.0, 2),
        ("sdxl-turbo", 0.0, 1),
    ],
)
def test_a_guidance_scale_says_whether_guidance_runs(model: str, scale: float, passes: int) -> None:
    """Guidance-distilled FLUX takes a scale as an input of its one pass."""
    assert resolve(ImageWork(model, steps=4, guidance_scale=scale), load_factors()).passes == passes


def test_a_few_step_model_keeps_one_pass_at_its_own_default() -> None:
    resolved = resolve(ImageWork("z-image-turbo"), load_factors())

    assert (resolved.steps, resolved.passes) == (9, 1)


def test_a_stated_number_of_passes_is_taken() -> None:
    assert resolve(ImageWork("flux.1-dev", guidance_passes=2), load_factors()).passes == 2


def test_strength_shortens_an_edit_and_nothing_else() -> None:
    edit = ImageWork("sdxl", steps=30, strength=0.6, input_images=1)

    assert resolve(edit, load_factors()).steps == 18
    assert resolve(ImageWork("sdxl", steps=30, strength=0.6), load_factors()).steps == 30


def test_half_a_size_is_no_size() -> None:
    resolved = resolve(ImageWork("sdxl", width=64), load_factors())

    assert (resolved.width, resolved.height) == (1024, 1024)
    assert "Size not given" in resolved.assumptions[0]


def test_old_quality_names_are_understood() -> None:
    assert resolve(ImageWork("gpt-image-2", quality="hd"), load_factors()).quality == "high"
    assert resolve(ImageWork("gpt-image-2", quality="STANDARD"), load_factors()).quality == "medium"
