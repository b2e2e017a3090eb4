"""What is known of pictures: frames, colours, how each was seen and read; words read, by picture; a view.

Revision 0003, after 0002. docs/schema.md explains the choices.
"""

# ruff: noqa: S608 - names of tables and columns, all of them ours
from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.util.exc import CommandError

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TEXT: type[sa.types.TypeEngine[Any]] = sa.Text
_NUMBER: type[sa.types.TypeEngine[Any]] = sa.Integer
_NEW: dict[str, dict[str, type[sa.types.TypeEngine[Any]]]] = {
    "record_images": {
        "frame": _NUMBER,
        "frames": _NUMBER,
        "mode": _TEXT,
        "orientation": _NUMBER,
        "perceptual_commitment": _TEXT,
        "use": _TEXT,
        "seen_width": _NUMBER,
        "seen_height": _NUMBER,
        "reader": _TEXT,
        "text_chars": _NUMBER,
        "text_commitment": _TEXT,
    },
    "record_pieces": {"image_text_from": _NUMBER, "image_text_to": _NUMBER},
}


def upgrade() -> None:
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    for table, columns in _NEW.items():
        for name, kind in columns.items():
            op.add_column(table, sa.Column(name, kind(), nullable=True))
    op.execute(sa.text("DROP VIEW v_checks"))
    _create_checks(_all_texts(on_sqlite=on_sqlite), on_sqlite=on_sqlite)
    _create_images(on_sqlite=on_sqlite)


def downgrade() -> None:
    """Undo upgrade; refuse where that would drop evidence."""
    bind = op.get_bind()
    for table, columns in _NEW.items():
        told = " OR ".join(f"{column} IS NOT NULL" for column in columns)
        count = bind.execute(sa.text(f"SELECT count(*) FROM {table} WHERE {told}")).scalar_one()
        if count:
            raise CommandError(
                f"this would drop what {count} rows of {table} say, and evidence is not dropped by a downgrade"
            )
    op.execute(sa.text("DROP VIEW v_images"))
    op.execute(sa.text("DROP VIEW v_checks"))
    for table, columns in _NEW.items():
        for name in reversed(columns):
            op.drop_column(table, name)
    _create_checks(_content("image_text"), on_sqlite=bind.dialect.name == "sqlite")


def _all_texts(*, on_sqlite: bool) -> str:
    """The words read in all pictures of a record, in the pictures' order."""
    of_record = "c.checked_at = r.checked_at AND c.record_id = r.id AND c.kind = 'image_text'"
    if on_sqlite:  # group_concat knows no ORDER BY of its own before 3.44
        ordered = f"SELECT c.body FROM contents c WHERE {of_record} ORDER BY c.position"
        return f"(SELECT group_concat(body, char(10)) FROM ({ordered}))"
    return f"(SELECT string_agg(c.body, chr(10) ORDER BY c.position) FROM contents c WHERE {of_record})"


_OF_0002 = """,
               e.adapter, e.decoding,
               (SELECT count(*) FROM record_pieces x WHERE x.checked_at = r.checked_at AND x.record_id = r.id)
                   AS piece_count,
               coalesce((SELECT x.name FROM record_notes x WHERE x.checked_at = r.checked_at
                         AND x.record_id = r.id AND x.kind = 'reasoning' AND x.position = 0), 'off') AS reasoning"""


def _day(*, on_sqlite: bool) -> str:
    if on_sqlite:
        return "substr(r.checked_at, 1, 10)"
    return "to_char(r.checked_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')"


def _content(kind: str) -> str:
    of_record = "c.checked_at = r.checked_at AND c.record_id = r.id"
    return f"(SELECT c.body FROM contents c WHERE {of_record} AND c.kind = '{kind}' AND c.position = 0)"


def _create_checks(image_text: str, *, on_sqlite: bool) -> None:
    """v_checks as 0002 made it, with *image_text* for what was read in pictures."""

    def joined(table: str, condition: str = "true") -> str:
        of_record = f"x.checked_at = r.checked_at AND x.record_id = r.id AND {condition}"
        if on_sqlite:
            ordered = f"SELECT x.name FROM {table} x WHERE {of_record} ORDER BY x.position"
            return f"(SELECT group_concat(name, ', ') FROM ({ordered}))"
        return f"(SELECT string_agg(x.name, ', ' ORDER BY x.position) FROM {table} x WHERE {of_record})"

    op.execute(
        sa.text(f"""
        CREATE VIEW v_checks AS
        SELECT r.id, r.checked_at, {_day(on_sqlite=on_sqlite)} AS day, r.tenant, r.session, r.request, r.subject,
               r.retention_class, r.content_mode, r.railscribe_version, r.direction, r.rail, r.host,
               r.outcome, r.cause, r.decided_on, r.enforcement,
               {joined("record_categories")} AS categories,
               {joined("record_categories", "x.deciding")} AS deciding_categories,
               r.user_label, r.user_score, r.user_cause, r.response_label, r.response_score, r.response_cause,
               r.trace_requested, r.trace_received, r.categories_requested,
               {joined("record_notes", "x.kind = 'note'")} AS notes,
               {joined("record_notes", "x.kind = 'neutralised'")} AS neutralised,
               p.name AS policy, p.version AS policy_version, r.policy_digest, r.policy_mode,
               r.policy_text_digest,
               (SELECT t.text FROM policy_texts t WHERE t.digest = r.policy_text_digest) AS policy_text,
               e.name AS engine, e.model, e.revision AS model_revision, e.adapter_digest, e.template_digest,
               e.backend, e.backend_version, e.dtype, r.engine_digest, r.served_model,
               r.finish_reason, r.prompt_tokens, r.completion_tokens,
               r.image_count, r.image_use, r.image_reader,
               r.render_ms, r.engine_ms, r.decide_ms, r.total_ms,
               r.user_chars, r.response_chars,
               {_content("user")} AS user_text, {_content("response")} AS response_text,
               {image_text} AS image_text, {_content("trace")} AS trace,
               {_content("reply")} AS reply{_OF_0002}
        FROM records r
        JOIN policies p ON p.digest = r.policy_digest
        JOIN engines e ON e.digest = r.engine_digest
        """)
    )


def _create_images(*, on_sqlite: bool) -> None:
    """A row a picture."""

    def content(kind: str) -> str:
        return (
            "(SELECT c.body FROM contents c WHERE c.checked_at = i.checked_at AND c.record_id = i.record_id "
            f"AND c.kind = {kind} AND c.position = i.position)"
        )

    of_image = "r.checked_at = i.checked_at AND r.id = i.record_id"
    shown, record = "r.id", f"JOIN records r ON {of_image}"
    if not on_sqlite:  # one by one, as in v_late_traces of 0002
        shown = "i.record_id AS id"
        record = f"CROSS JOIN LATERAL (SELECT * FROM records r WHERE {of_image} OFFSET 0) r"
    op.execute(
        sa.text(f"""
        CREATE VIEW v_images AS
        SELECT {shown}, i.position, i.checked_at, {_day(on_sqlite=on_sqlite)} AS day, r.tenant, r.subject, r.direction,
               r.outcome, i.kind, i.media_type, i.frame, i.frames, i.width, i.height, i.size_bytes, i.mode,
               i.orientation, i.use, i.seen_width, i.seen_height, i.reader, i.text_chars,
               {content("i.kind")} AS digest, {content("'image_perceptual'")} AS perceptual_digest,
               {content("'image_text'")} AS image_text
        FROM record_images i
        {record}
        """)
    )
