"""OpenRouter: images come out of chat completions; its own fields beside OpenAI's, and `usage.cost`."""

from __future__ import annotations

from gateway.upstreams.dialects.dialect import Dialect

OPENROUTER = Dialect("openrouter", paths={"chat": "chat/completions"}, usd="cost")
