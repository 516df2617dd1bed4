"""Settings from the environment (`ECOGATE_...`), read once per process.

Every command line option of `ecogate serve` has its variable here. Secrets are `SecretStr`, so that no
repr, log line or trace shows them.
"""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PLACEHOLDERS = re.compile(
    r"(.{1,4})\1*|(change-?_?me[-_]?)+|(secret[-_]?)+|(password[-_]?)+|(your[-_].*)|(<.*>)|(\$\{.*\})|(replace[-_].*)",
    re.IGNORECASE,
)
ADMIN_KEY_CHARACTERS = 32
MOST_PER_MINUTE = 60_000


class Settings(BaseSettings):
    """What a gateway process needs to know before it reads any file. An empty variable counts as unset."""

    model_config = SettingsConfigDict(
        env_prefix="ECOGATE_",
        env_ignore_empty=True,
        extra="ignore",
        validate_default=True,
        hide_input_in_errors=True,
    )

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    workers: int = Field(default=1, ge=1, le=64)
    data_dir: Path = Path("data")
    deployments: Path | None = None
    policies: Path | None = None
    factors: Path | None = None
    redis_url: SecretStr | None = None
    database_url: SecretStr | None = None
    admin_key: SecretStr | None = None
    key_pepper: SecretStr | None = None
    openai_api_key: SecretStr | None = Field(default=None, validation_alias="OPENAI_API_KEY")
    redis_server_bin: Path | None = None
    store_timeout_ms: int = Field(default=250, ge=10, le=10_000, description="Deadline of one ledger call")
    lease_s: int = Field(default=60, ge=5, le=3600, description="How long a hold lives without a heartbeat")
    upstream_connect_timeout_s: float = Field(default=5.0, gt=0)
    upstream_read_timeout_s: float = Field(default=600.0, gt=0)
    stream_heartbeat_s: float = Field(
        default=0.0,
        ge=0,
        description="Seconds without an event after which a stream gets a comment; 0: never",
    )
    requests_per_minute: int | None = Field(
        default=None,
        ge=1,
        le=MOST_PER_MINUTE,
        description="Most requests of a key that has no limit of its own",
    )
    drain_s: float = Field(default=130.0, ge=0, description="How long SIGTERM waits for requests in flight")
    max_json_bytes: int = Field(default=1_000_000, ge=1_000, description="Largest generations body")
    cors_origins: str = Field(default="", description="Origins of web pages that may use the API, by commas")
    max_edit_json_bytes: int = Field(default=64_000_000, ge=1_000, description="Largest edits body as JSON")
    max_form_bytes: int = Field(default=850_000_000, ge=1_000, description="Largest form with files")
    max_answer_bytes_per_image: int = Field(default=64_000_000, ge=1_000_000)
    otlp_endpoint: str | None = Field(default=None, validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT")

    @field_validator("admin_key")
    @classmethod
    def _no_weak_admin_key(cls, value: SecretStr | None) -> SecretStr | None:
        """An admin key is any string of 32 or more characters that is not a known placeholder."""
        if value is None:
            return None
        secret = value.get_secret_value()
        if len(secret) < ADMIN_KEY_CHARACTERS:
            msg = f"must have at least {ADMIN_KEY_CHARACTERS} characters"
            raise ValueError(msg)
        if PLACEHOLDERS.fullmatch(secret):
            msg = "is a placeholder; use a random string"
            raise ValueError(msg)
        return value


def variable(field: str) -> str:
    """The environment variable of a setting, such as `ECOGATE_PORT`; also of an alias that an error names."""
    setting = Settings.model_fields.get(field)
    if setting is None:
        return field
    alias = setting.validation_alias
    return alias if isinstance(alias, str) else f"ECOGATE_{field.upper()}"
