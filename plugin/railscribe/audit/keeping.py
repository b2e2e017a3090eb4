"""How one record's content is to be kept, and for how long: by its policy, its tenant, or the settings.

Rules

1. A policy's own choice, by its name, goes before its tenant's, and that before the one for all.
2. What a mode needs (a key, a redactor) must be there as the store opens, if any record could be kept in it.
3. Reading needs no key: what cannot be opened says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from railscribe.audit import tables
from railscribe.audit.content_keys import (
    Find,
    KeyWrapper,
    LocalKeyFile,
    Row,
    SubjectKeys,
    read_key_file,
    unwrapped,
)
from railscribe.audit.contents import FindKey
from railscribe.audit.forms import PLAIN, Digested, Encrypted, Redacted, Treatment
from railscribe.audit.hooks import called
from railscribe.audit.redaction import Redactor, open_redactor
from railscribe.errors import ContentKeyError, SettingsError
from railscribe.settings import Settings
from railscribe.values import ContentMode, Identity

TERMS: Mapping[str, int] = {"default": 183, "six_years": 2192}
"""Days by retention class: six months, and six years with two leap days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """The choices of the settings, with what they need at hand. The default keeps content as it is."""

    mode: ContentMode = ContentMode.FULL
    mode_by_tenant: Mapping[str, ContentMode] = field(default_factory=dict)
    mode_by_policy: Mapping[str, ContentMode] = field(default_factory=dict)
    retention_class: str = "default"
    class_by_tenant: Mapping[str, str] = field(default_factory=dict)
    class_by_policy: Mapping[str, str] = field(default_factory=dict)
    redactor: Redactor | None = None
    digest_key: bytes | None = None
    wrapper: KeyWrapper | None = None
    keys: SubjectKeys | None = None

    @classmethod
    def of(cls, settings: Settings) -> Keeping:
        """Return what *settings* choose.

        Raises:
            SettingsError: a mode is chosen without its key, or names what cannot be loaded.
            MissingExtraError: Presidio, or its language model, is not installed.
        """
        modes = {
            settings.content_mode,
            *settings.content_mode_by_tenant.values(),
            *settings.content_mode_by_policy.values(),
        }
        wrapper = _wrapper(settings)
        for mode, there, name in (
            (ContentMode.ENCRYPTED, wrapper is not None, "content_key_file"),
            (ContentMode.DIGEST, settings.digest_key_file is not None, "digest_key_file"),
        ):
            if mode in modes and not there:
                hint = f"Make one with railscribe audit content-key new FILE, and set {name} to it."
                raise SettingsError(f"Content mode {mode.value!r} needs a key.", hint=hint)
        digest_file = settings.digest_key_file
        return cls(
            mode=settings.content_mode,
            mode_by_tenant=settings.content_mode_by_tenant,
            mode_by_policy=settings.content_mode_by_policy,
            retention_class=settings.retention_class,
            class_by_tenant=settings.retention_class_by_tenant,
            class_by_policy=settings.retention_class_by_policy,
            redactor=open_redactor(settings.redactor) if ContentMode.REDACTED in modes else None,
            digest_key=None if digest_file is None else read_key_file(digest_file),
            wrapper=wrapper,
            keys=SubjectKeys(wrapper) if wrapper else None,
        )

    @property
    def asks_whose(self) -> bool:
        """Whether it matters whose a content is."""
        return bool(self.mode is not ContentMode.FULL or self.mode_by_tenant or self.mode_by_policy)

    def class_for(self, tenant: str, policy: str) -> str:
        """Return the retention class of a record (rule 1)."""
        return self.class_by_policy.get(policy) or self.class_by_tenant.get(tenant) or self.retention_class

    def treatment(
        self, identity: Identity, policy: str, record_id: str, find: Find, *, is_late: bool = False
    ) -> Treatment:
        """Return what makes of a record's content, or of what came late to it, what is kept.

        Raises:
            ContentKeyError: the subject's key could not be wrapped or unwrapped.
            SettingsError: the mode needs what was not given.
        """
        tenant, subject = identity.tenant, identity.subject
        mode = self.mode_by_policy.get(policy) or self.mode_by_tenant.get(tenant) or self.mode
        if mode is ContentMode.FULL:
            return PLAIN
        if mode is ContentMode.REDACTED and self.redactor is not None:
            return Redacted(self.redactor)
        if mode is ContentMode.DIGEST and self.digest_key is not None:
            return Digested(self.digest_key, tenant)
        if mode is ContentMode.ENCRYPTED and self.keys is not None:
            none_yet = subject is None and not is_late
            key = self.keys.of(
                tenant=tenant, subject=subject, record_id=record_id, find=None if none_yet else find
            )
            return Encrypted(key.secret, key.digest, None if key.lies_there else key.row)
        raise SettingsError(f"Content mode {mode.value!r} was chosen without what it needs.")

    def opener(self, connection: sa.Connection) -> FindKey:
        """Return what finds data keys in *connection*'s database (rule 3)."""

        def find(digest: str) -> bytes | str:
            row = _latest(connection, tables.subject_keys.c.digest == digest)
            if row is None:
                return "erased" if _is_erased(connection, digest) else "key_missing"
            try:
                return unwrapped(self.wrapper, row) if self.wrapper else "encrypted"
            except ContentKeyError:
                return "encrypted"

        return find


def find_key(
    connection: sa.Connection, tenant: str, subject: str | None, record_id: str | None
) -> Row | None:
    """Return the latest row of ``subject_keys`` of a subject, or of a record without one."""
    keys = tables.subject_keys.c
    whose = keys.record_id == record_id if subject is None else keys.subject == subject
    return _latest(connection, keys.tenant == tenant, whose)


def _is_erased(connection: sa.Connection, digest: str) -> bool:
    query = sa.select(tables.erased_keys.c.key_digest).where(tables.erased_keys.c.key_digest == digest)
    return connection.execute(query.limit(1)).first() is not None


def _latest(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> Row | None:
    query = sa.select(tables.subject_keys).where(*where).order_by(tables.subject_keys.c.made_at.desc())
    row = connection.execute(query.limit(1)).mappings().first()
    return None if row is None else dict(row)


def _wrapper(settings: Settings) -> KeyWrapper | None:
    if settings.content_key_hook is not None:
        wrapper: KeyWrapper = called("content_key_hook", settings.content_key_hook)()
        return wrapper
    return None if settings.content_key_file is None else LocalKeyFile.read(settings.content_key_file)
