"""Opening a store as the settings say."""

from __future__ import annotations

from railscribe.audit.anchors import Anchors
from railscribe.audit.keeping import Keeping
from railscribe.audit.store import AuditStore
from railscribe.settings import Settings


def open_store(settings: Settings) -> AuditStore:
    """Open the audit database of *settings*, which must exist at the right revision.

    Raises:
        SchemaRevisionError: it does not exist or is at another revision; the hint is the command to run.
        AuditError: it cannot be reached or read.
        SettingsError: its URL is none of a database that the store runs on.
        MissingExtraError: the PostgreSQL driver is not installed, or what redacts.
    """
    return AuditStore.open(
        settings.database_url,
        keep_images=settings.keep_images,
        wait_for=settings.wait_for,
        spool_dir=settings.spool_dir,
        spool_max_mb=settings.spool_max_mb,
        fail_open=settings.on_audit_failure == "open",
        signing_key=settings.signing_key,
        seal_every_s=settings.seal_every_s,
        keeping=Keeping.of(settings),
        anchors=Anchors(file=settings.anchor_file, command=settings.anchor_command, url=settings.anchor_url),
    )
