"""Settings: flags first, then ``RAILSCRIBE_*`` in the environment, then ``railscribe.toml``, then defaults.

A NeMo configuration gives the same fields under ``custom_data: {railscribe: ...}``, in the place of flags.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_cache_path, user_data_path
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings.exceptions import SettingsError as UnreadableVariable
from typing_extensions import Self

from railscribe.errors import SettingsError
from railscribe.misfits import misfits
from railscribe.reasoning import ReasoningFor, ReasoningPlan
from railscribe.rollout import OnUndecided, Rollout
from railscribe.values import ContentMode, Reasoning, Stage

EngineName = Literal["embedded", "transformers", "openai_compatible"]
OnAuditFailure = Literal["closed", "open"]
IdentityField = Literal["tenant", "session", "request", "subject", "language"]


class Settings(BaseSettings):
    """Everything that can be configured, with its default."""

    model_config = SettingsConfigDict(
        env_prefix="RAILSCRIBE_", extra="forbid", toml_file="railscribe.toml", frozen=True
    )

    database_url: str = "sqlite:///railscribe.db"
    """SQLAlchemy URL of the audit database, such as ``postgresql+psycopg://user@host/audit``."""
    wait_for: Stage = Stage.DURABLE
    """How safe a record must be before its decision is released: ``accepted`` (in memory), ``durable`` (on the disk,
    in the database or in the spool), ``sealed`` (under a signed checkpoint). See docs/audit-store.md."""
    spool_dir: Path = Field(default_factory=lambda: user_data_path("railscribe") / "spool")
    """Where entries are durable while the database takes none. It holds what the database would hold, content
    included."""
    spool_max_mb: int = Field(default=1024, ge=0)
    """No more is spooled past it; 0: nothing is spooled."""
    on_audit_failure: OnAuditFailure = "closed"
    """What happens when neither database nor spool takes a record: ``closed`` refuses, cause ``not_recorded``;
    ``open`` lets the decision go. Either way a gap is on record as soon as anything can be written."""
    signing_key: Path | None = None
    """The PEM file of the Ed25519 key that checkpoints are signed with (``railscribe audit key new``). Without one, a
    key in the user's data folder, made by the first entry of a new database."""
    seal_every_s: float = Field(default=60.0, gt=0)
    """Seconds from one signed checkpoint to the next."""
    anchor_file: Path | None = None
    """Each checkpoint's number, hash and signature are appended to this file, which had better lie elsewhere."""
    anchor_command: str | None = None
    """A command that is given that line on its standard input."""
    anchor_url: str | None = None
    """An ``https://`` address that the line is sent to by POST."""
    policy: str = "default"
    """A ready policy's name, a YAML or JSON file, or one of the registry: NAME@TAG, NAME@VERSION, a digest."""
    policy_by_tenant: dict[str, str] = {}
    """Which policy judges for a tenant, where neither the request nor the rail names one."""
    policy_refresh_s: float = Field(default=5.0, ge=0)
    """Seconds after which the registry is asked again where a tag points."""
    on_undecided: OnUndecided = "block"
    """What an undecided check does to the traffic."""
    rollout: str = "enforce"
    """``enforce``; ``observe``, which lets everything through and writes down what would have been refused; or a
    percentage such as ``25%``, which enforces for that share of the sessions (docs/rollout.md)."""
    identity_headers: dict[IdentityField, str] = {}
    """For NeMo Guardrails' server: which request headers say on whose behalf a check runs, such as ``{tenant:
    X-Tenant, session: X-Session-Id}``. None are believed by default: a client writes what it likes."""
    quote_record: bool = False
    """Whether a refusal ends with its record's id, so that whoever was refused can quote it."""
    cache_verdicts: int = Field(default=0, ge=0)
    """Verdicts to remember, so that what was judged is not judged again within a tenant; each repeat has a record
    that names the check it repeats. None by default."""
    cache_verdicts_s: float = Field(default=300.0, gt=0)
    """Seconds for which a verdict is remembered."""
    think: bool = False
    """Short for ``reasoning: verdict`` for all."""
    reasoning: Reasoning = Reasoning.OFF
    """Whether the model is asked to think: not at all, for its verdict, or after the decision. A policy with a
    plan of its own goes before these four (docs/reasoning.md)."""
    reasoning_for: ReasoningFor = ReasoningFor.ALL
    """``all``, what was ``blocked``, scores in the ``band``, or a ``sample``."""
    reasoning_sample: float = Field(default=0.05, gt=0, le=1)
    reasoning_band: tuple[float, float] | None = None
    """Scores to think about where the policy names no review band. It decides nothing: only a policy's band flags."""
    reasoning_queue: int = Field(default=256, ge=0)
    """Deferred checks that may wait for their turn; more are lost, and on record as lost."""
    reasoning_in_flight: int = Field(default=2, ge=1)
    reasoning_timeout_s: float = Field(default=120.0, gt=0)
    reasoning_drain_s: float = Field(default=10.0, ge=0)
    """Seconds that a guard waits for deferred reasoning when it is closed."""

    engine: EngineName = "embedded"
    model: str | None = None
    """``transformers``: a local path or hub name. ``openai_compatible``: the served model's name. ``embedded``:
    another path to google/gemma-3-270m."""
    revision: str | None = None
    adapter: str | None = None
    """A PEFT adapter for ``transformers``, or in the place of the embedded one."""
    adapters: dict[str, str] = {}
    """More adapters by name: folders, or for ``openai_compatible`` the names that the server gives them."""
    adapter_by_policy: dict[str, str] = {}
    """Which adapter judges under a policy, by the policy's name. It goes before ``adapter_by_tenant``."""
    adapter_by_tenant: dict[str, str] = {}
    base_url: str | None = None
    """``openai_compatible``: the server's address up to and including ``/v1``."""
    api_key: SecretStr | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    quantize: Literal["8bit", "4bit"] | None = None
    """``transformers``: load the weights in 8 or 4 bit, through bitsandbytes; bfloat16 alone fills an 8 GB card."""
    timeout_s: float = Field(default=30.0, gt=0)
    """Seconds for one engine call, retries included."""
    max_retries: int = Field(default=2, ge=0, le=10)
    cache_dir: Path = Field(default_factory=lambda: user_cache_path("railscribe"))
    """Where the embedded guard keeps its unpacked base (about 570 MB)."""

    # In-process engines only.
    max_batch: int = Field(default=16, ge=1)
    """Checks in one batch, at most."""
    batch_tokens: int = Field(default=768, ge=1)
    """Tokens in one batch, policies not counted; a single longer exchange is a batch of its own."""
    batch_wait_ms: float = Field(default=2.0, ge=0, le=1000)
    """How long a check that finds the engine idle waits for others to go with it."""
    prefix_cache_mb: int = Field(default=256, ge=0)
    """Memory for policies that the model has read already; the least recently used goes first."""
    prefix_cache_scope: Literal["all", "tenant"] = "all"
    """Whether tenants share what the model remembers of a policy."""
    context_tokens: int | None = Field(default=None, ge=64)
    """Judge longer exchanges in windows of so many tokens; the model's own limit if left out (embedded: 1,024)."""

    allow_ignored_policy: bool = False
    """Judge under a policy even where ``railscribe doctor`` found that the engine ignores policies."""

    max_text_chars: int = Field(default=100_000, gt=0)
    """Longer texts are undecided, cause ``too_long``; the record keeps their beginning."""
    max_image_bytes: int = Field(default=20_000_000, gt=0)
    max_image_pixels: int = Field(default=50_000_000, gt=0)
    max_images: int = Field(default=16, ge=1)
    """Pictures in one exchange, each frame of a moving one counted; more are undecided, cause
    ``too_many_images``."""
    read_images: Literal["auto", "always", "never"] = "auto"
    """Read the words in pictures (OCR) and judge them: for engines without eyes, for every engine, or not at all."""
    keep_images: bool = False
    """Keep the bytes of pictures in the audit store; without it their digest and facts alone are kept."""
    content_mode: ContentMode = ContentMode.FULL
    """How the audit store keeps what was said: full, redacted, digest, encrypted (docs/privacy.md). A policy's own,
    by its name, goes before a tenant's, and that before this."""
    content_mode_by_tenant: dict[str, ContentMode] = {}
    content_mode_by_policy: dict[str, ContentMode] = {}
    content_key_file: Path | None = None
    """``encrypted``: the key that wraps the subjects' keys. Make one: railscribe audit content-key new FILE."""
    content_key_hook: str | None = None
    """``encrypted``: in the place of the file, ``module:function`` that gives a ``KeyWrapper``, such as a KMS."""
    digest_key_file: Path | None = None
    """``digest``: the key of the digests."""
    redactor: str = "presidio"
    """``redacted``: presidio, presidio-patterns (no names, no language model), or ``module:function``."""
    retention_class: str = "default"
    """How long records are kept; a policy's own class, by its name, goes before a tenant's, and that before this."""
    retention_class_by_tenant: dict[str, str] = {}
    retention_class_by_policy: dict[str, str] = {}
    retention_terms: dict[str, int] = {}
    """Days that classes of your own are kept; there are ``default`` (183) and ``six_years`` (2192)."""
    allow_image_urls: bool = False
    """Hand http(s) image addresses to a remote engine. Railscribe itself never fetches one."""

    @field_validator("rollout")
    @classmethod
    def _known_rollout(cls, value: str) -> str:
        Rollout.parse(value)
        return value

    @model_validator(mode="after")
    def _no_two_plans(self) -> Self:
        if self.think and self.reasoning is Reasoning.DEFERRED:
            raise ValueError(
                "think is short for reasoning=verdict, and reasoning says deferred; give one of them"
            )
        if self.reasoning_for is ReasoningFor.BAND and self.reasoning_band is None:
            raise ValueError("reasoning_for=band needs a reasoning_band, such as [0.3, 0.7]")
        if self.reasoning_band is not None and not 0 <= self.reasoning_band[0] < self.reasoning_band[1] <= 1:
            raise ValueError("reasoning_band is two scores between 0 and 1, the lower first")
        return self

    def reasoning_plan(self) -> ReasoningPlan:
        """Return when the model is asked to think where neither caller nor policy says so."""
        if self.think:
            return ReasoningPlan(mode=Reasoning.VERDICT)
        sample = self.reasoning_sample if self.reasoning_for is ReasoningFor.SAMPLE else None
        return ReasoningPlan(mode=self.reasoning, applies_to=self.reasoning_for, sample=sample)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings in force, *overrides* (those that are not ``None``) above all other sources.

    Raises:
        SettingsError: with each field and what must stand there.
    """
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        problems = "; ".join(
            f"{field}: {message}" if field else message for field, message, _ in misfits(error, Settings)
        )
        sources = "flags and RAILSCRIBE_* variables"
        if Path("railscribe.toml").exists():
            sources = "flags, RAILSCRIBE_* variables and railscribe.toml"
        raise SettingsError(f"Bad settings: {problems}.", hint=f"Looked at {sources}.") from None
    except UnreadableVariable as error:
        field = re.search(r'field "(\w+)"', str(error))
        raise SettingsError(
            f"Bad settings: {field[1] if field else 'a variable'}: must be written as JSON in the environment.",
            hint='Such as {"name": "value"}, or ["item"] where it is a list.',
        ) from None
    except ValueError as error:  # a railscribe.toml that is no TOML
        raise SettingsError(f"railscribe.toml cannot be read: {error}.") from error
