"""Keys of subjects, what is kept otherwise than as it is, erasures, holds, prunes; deletion that a record names.

Revision 0007, after 0006. docs/privacy.md and docs/schema.md explain the choices.
"""

# ruff: noqa: S608 - names of tables and columns, all of them ours
from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.util.exc import CommandError

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_KEYS = {
    "subject_keys": ["digest"],
    "record_kept": ["checked_at", "record_id", "kind", "position"],
    "late_kept": ["checked_at", "record_id", "kind", "position"],
    "erasures": ["id"],
    "erased_records": ["erasure_id", "checked_at", "record_id"],
    "erased_keys": ["erasure_id", "key_digest"],
    "holds": ["id"],
    "hold_releases": ["hold_id"],
    "prunes": ["id"],
    "pruned_segments": ["prune_id", "segment_id"],
    "pruned_entries": ["prune_id", "at", "kind", "id"],
}
_EVIDENCE = tuple(table for table in _KEYS if table != "subject_keys")
_VIEWS = ("v_contents", "v_erasures", "v_holds", "v_prunes")
_WITH_BODIES = ("v_checks", "v_images", "v_late_traces")
"""Views of before that show what lies in ``contents``."""

# Under what conditions a row may go. OLD is the row; the same words serve both databases.
_ERASED = "EXISTS (SELECT 1 FROM erased_records e WHERE e.record_id = OLD.record_id AND e.checked_at = OLD.checked_at)"
_NAMED = "SELECT 1 FROM entries e JOIN pruned_segments p ON p.segment_id = e.segment_id WHERE"


def _pruned(record: str, late: str | None = None) -> str:
    """A row of a record may go with the record's segment; what came late with its own as well, where *late* holds."""
    of_record = f"e.at = OLD.checked_at AND e.id = OLD.{record}"
    found = f"EXISTS ({_NAMED} {of_record} AND e.kind = 'record')"
    if late is not None:
        found += f" OR ({late} AND EXISTS ({_NAMED} {of_record} AND e.kind = 'late_trace'))"
    return found


_KEY_PRUNED = f"""EXISTS (SELECT 1 FROM records r WHERE r.id = OLD.record_id
    AND EXISTS ({_NAMED} e.at = r.checked_at AND e.id = r.id AND e.kind = 'record'))"""
_LATE = "OLD.kind LIKE 'late%'"
_MAY_GO = {
    "entries": "EXISTS (SELECT 1 FROM pruned_segments p WHERE p.segment_id = OLD.segment_id)",
    "records": _pruned("id"),
    **{
        table: _pruned("record_id")
        for table in ("record_categories", "record_notes", "record_images", "record_pieces", "record_kept")
    },
    **{table: _pruned("record_id", "TRUE") for table in ("late_traces", "late_kept")},
}
"""When a row of evidence may be deleted: nothing else ever."""
_KEY_ERASED = "EXISTS (SELECT 1 FROM erased_keys e WHERE e.key_digest = OLD.digest)"


def upgrade() -> None:
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    _create_keys()
    for table in ("record_kept", "late_kept"):
        _create_kept(table)
    _create_erasures()
    _create_holds()
    _create_prunes()
    _create_views(on_sqlite=on_sqlite)
    for view in _WITH_BODIES:
        _redefine(view, on_sqlite=on_sqlite, change=_with_states if view == "v_checks" else _hidden)
    for statement in _sqlite_triggers() if on_sqlite else _postgresql_triggers():
        op.execute(sa.text(statement))


def downgrade() -> None:
    """Undo upgrade; refuse where that would drop evidence, or the keys without which content cannot be read."""
    bind = op.get_bind()
    on_sqlite = bind.dialect.name == "sqlite"
    for table in _KEYS:
        if count := bind.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one():
            raise CommandError(
                f"this would drop what {count} rows of {table} say, and evidence is not dropped by a downgrade"
            )
    for statement in _undone(on_sqlite=on_sqlite):
        op.execute(sa.text(statement))
    for view in _WITH_BODIES:
        _redefine(view, on_sqlite=on_sqlite, change=_shown)
    for view in reversed(_VIEWS):
        op.execute(sa.text(f"DROP VIEW {view}"))
    for table in reversed(_KEYS):
        op.drop_table(table)  # and its triggers with it
    if not on_sqlite:
        for function in _FUNCTIONS:
            op.execute(sa.text(f"DROP FUNCTION {function}()"))


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False)


def _time(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False)


def _create(table: str, *parts: sa.schema.SchemaItem) -> None:
    op.create_table(
        table,
        *parts,
        sa.PrimaryKeyConstraint(*_KEYS[table], name=f"pk_{table}"),
        # Without a rowid there is no second key by which INSERT OR REPLACE could push out evidence.
        sqlite_with_rowid=table == "subject_keys",
    )


def _points(table: str, column: str, to: str, key: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{to}.{key}"], name=f"fk_{table}_{column}_{to}")


def _create_keys() -> None:
    """Data keys, wrapped, each of a subject or of one record. No evidence: erasing destroys them."""
    _create(
        "subject_keys",
        _text("digest"),
        _text("tenant"),
        _text("subject", nullable=True),
        _text("record_id", nullable=True),
        _text("wrapped"),
        _text("wrapped_by"),
        _time("made_at"),
        sa.CheckConstraint("(subject IS NULL) <> (record_id IS NULL)", name="ck_subject_keys_of_one"),
    )
    op.create_index("ix_subject_keys_tenant_subject", "subject_keys", ["tenant", "subject"])
    op.create_index("ix_subject_keys_record_id", "subject_keys", ["record_id"])


def _create_kept(table: str) -> None:
    """What is kept of contents that are not kept as they are: of a record, and of what came late to it."""
    _create(
        table,
        _time("checked_at"),
        _text("record_id"),
        _text("kind"),
        _number("position"),
        _text("form"),
        _text("commitment", nullable=True),
        _text("redactions", nullable=True),
        sa.ForeignKeyConstraint(
            ["checked_at", "record_id"],
            ["records.checked_at", "records.id"],
            name=f"fk_{table}_checked_at_record_id_records",
        ),
        sa.CheckConstraint(
            "form IN ('redacted', 'digest', 'encrypted', 'withheld')", name=f"ck_{table}_form_known"
        ),
        sa.CheckConstraint(
            "(form = 'withheld') = (commitment IS NULL)", name=f"ck_{table}_committed_unless_withheld"
        ),
    )


def _create_erasures() -> None:
    """What was erased, by whom and why; its records by their ids, so that no subject is named for ever."""
    _create(
        "erasures",
        _text("id"),
        _time("erased_at"),
        _text("tenant"),
        _text("subject_commitment"),
        _text("erased_by"),
        _text("reason"),
        _number("records"),
        _number("contents"),
        _number("keys"),
        _text("railscribe_version"),
    )
    op.create_index("ix_erasures_erased_at", "erasures", ["erased_at"])
    _create(
        "erased_records",
        _text("erasure_id"),
        _time("checked_at"),
        _text("record_id"),
        _points("erased_records", "erasure_id", "erasures", "id"),
    )
    op.create_index("ix_erased_records_record_id", "erased_records", ["record_id"])
    _create(
        "erased_keys",
        _text("erasure_id"),
        _text("key_digest"),
        _points("erased_keys", "erasure_id", "erasures", "id"),
    )
    op.create_index("ix_erased_keys_key_digest", "erased_keys", ["key_digest"])


def _create_holds() -> None:
    """Legal holds and their releases."""
    _create(
        "holds",
        _text("id"),
        _time("held_at"),
        _text("tenant", nullable=True),
        _text("subject", nullable=True),
        _text("retention_class", nullable=True),
        _text("record_id", nullable=True),
        _text("held_by"),
        _text("reason"),
        _text("railscribe_version"),
    )
    _create(
        "hold_releases",
        _text("hold_id"),
        _time("released_at"),
        _text("released_by"),
        _text("reason"),
        _text("railscribe_version"),
        _points("hold_releases", "hold_id", "holds", "id"),
    )


def _create_prunes() -> None:
    """What was pruned: whole segments, and of other segments the entries whose records went with those."""
    _create(
        "prunes",
        _text("id"),
        _time("pruned_at"),
        _text("retention_class"),
        _number("term_days"),
        _time("before"),
        _text("pruned_by"),
        _text("reason"),
        _number("segments"),
        _number("entries"),
        _number("records"),
        _number("checkpoint_number"),
        _text("checkpoint_hash"),
        _text("railscribe_version"),
    )
    _create(
        "pruned_segments",
        _text("prune_id"),
        _text("segment_id"),
        _text("root"),
        _number("entry_count"),
        _points("pruned_segments", "prune_id", "prunes", "id"),
        _points("pruned_segments", "segment_id", "segments", "id"),
    )
    op.create_index("ix_pruned_segments_segment_id", "pruned_segments", ["segment_id"])
    _create(
        "pruned_entries",
        _text("prune_id"),
        _time("at"),
        _text("kind"),
        _text("id"),
        _points("pruned_entries", "prune_id", "prunes", "id"),
    )
    op.create_index("ix_pruned_entries_id", "pruned_entries", ["id"])


def _create_views(*, on_sqlite: bool) -> None:
    def of_content(column: str) -> str:
        same = "k.checked_at = c.checked_at AND k.record_id = c.record_id AND k.kind = c.kind"
        found = [
            f"(SELECT k.{column} FROM {table} k WHERE {same} AND k.position = c.position)"
            for table in ("record_kept", "late_kept")
        ]
        return f"coalesce({', '.join(found)})"

    op.execute(
        sa.text(f"""
        CREATE VIEW v_contents AS
        SELECT r.checked_at, r.id AS record_id, c.kind, c.position,
               coalesce({of_content("form")}, 'full') AS state,
               CASE WHEN coalesce({of_content("form")}, 'full') IN ('full', 'redacted') THEN c.body END AS body,
               c.truncated, {of_content("redactions")} AS redactions
        FROM records r
        JOIN contents c ON c.checked_at = r.checked_at AND c.record_id = r.id
        """)
    )
    day = "substr(e.erased_at, 1, 10)"
    if not on_sqlite:
        day = "to_char(e.erased_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
    op.execute(
        sa.text(f"""
        CREATE VIEW v_erasures AS
        SELECT e.id, e.erased_at, {day} AS day, e.tenant, e.erased_by, e.reason, e.records, e.contents, e.keys,
               (SELECT r.subject FROM erased_records x
                JOIN records r ON r.checked_at = x.checked_at AND r.id = x.record_id
                WHERE x.erasure_id = e.id LIMIT 1) AS subject
        FROM erasures e
        """)
    )
    op.execute(
        sa.text("""
        CREATE VIEW v_holds AS
        SELECT h.id, h.held_at, h.tenant, h.subject, h.retention_class, h.record_id, h.held_by, h.reason,
               l.released_at, l.released_by, l.reason AS release_reason
        FROM holds h
        LEFT JOIN hold_releases l ON l.hold_id = h.id
        """)
    )

    op.execute(
        sa.text("""
        CREATE VIEW v_prunes AS
        SELECT id, pruned_at, retention_class, term_days, before, pruned_by, reason, segments, entries, records,
               checkpoint_number, checkpoint_hash
        FROM prunes
        """)
    )


_STATE = """,
               CASE WHEN EXISTS (SELECT 1 FROM contents x WHERE x.checked_at = r.checked_at AND x.record_id = r.id
                                 AND x.kind = 'user' AND x.position = 0) THEN r.content_mode
                    WHEN EXISTS (SELECT 1 FROM record_kept x WHERE x.checked_at = r.checked_at
                                 AND x.record_id = r.id AND x.kind = 'user' AND x.position = 0
                                 AND x.form = 'withheld') THEN 'withheld'
                    ELSE 'erased' END AS content_state"""
_MAIN_FROM = re.compile(r"(?s)(.*)(\s+FROM \(*records r\b.*)")


def _redefine(view: str, *, on_sqlite: bool, change: Any) -> None:
    """Change the definition of *view*, whichever revision made it what it is."""
    query = (
        f"SELECT sql FROM sqlite_master WHERE type = 'view' AND name = '{view}'"
        if on_sqlite
        else f"SELECT pg_get_viewdef('{view}'::regclass)"
    )
    found = str(op.get_bind().execute(sa.text(query)).scalar_one())
    select = re.split(r"(?i)\bAS\b", found, maxsplit=1)[1] if on_sqlite else found
    if on_sqlite or change is _shown:
        op.execute(sa.text(f"DROP VIEW {view}"))
    statement = f"CREATE VIEW {view} AS{change(select)}"
    if not on_sqlite and change is not _shown:
        statement = f"CREATE OR REPLACE VIEW {view} AS {change(select)}"
    op.get_bind().exec_driver_sql(statement.replace("%", "%%") if not on_sqlite else statement)


def _hidden(select: str) -> str:
    """Show of contents what can be read as it lies."""
    return re.sub(r"\bcontents c\b", "v_contents c", select)


def _with_states(select: str) -> str:
    columns, rest = _MAIN_FROM.fullmatch(_hidden(select)).groups()  # type: ignore[union-attr] # 0001's view
    return f"{columns}{_STATE}{rest}"


def _shown(select: str) -> str:
    """Undo both."""
    without = re.sub(r"(?s),\s+CASE\s+WHEN \(?EXISTS (?:(?!CASE).)*?END AS content_state", "", select)
    return re.sub(r"\bv_contents c\b", "contents c", without)


def _sqlite_triggers() -> list[str]:
    refusal = "SELECT RAISE(ABORT, 'railscribe: append-only');"
    may_go = f"({_ERASED} OR {_pruned('record_id', _LATE)})"
    key_may_go = f"({_KEY_ERASED} OR {_KEY_PRUNED})"
    statements = [
        f"CREATE TRIGGER contents_no_delete BEFORE DELETE ON contents WHEN NOT {may_go} BEGIN {refusal} END",
        # What comes late to a record that was erased is erased as well.
        _stay_erased("contents", f"NEW.kind LIKE 'late%' AND {_ERASED}"),
        _no_replace("contents", ["checked_at", "record_id", "kind", "position"], refusal),
        _stay_erased("subject_keys", _KEY_ERASED),
        _no_replace("subject_keys", ["digest"], "SELECT RAISE(IGNORE);"),
    ]
    for what in ("update", "delete"):
        statements.append(
            f"CREATE TRIGGER subject_keys_no_{what} BEFORE {what.upper()} ON subject_keys "
            f"WHEN NOT {key_may_go} BEGIN {refusal} END"
        )
    for table in _EVIDENCE:
        for what in ("update", "delete"):
            statements.append(
                f"CREATE TRIGGER {table}_no_{what} BEFORE {what.upper()} ON {table} BEGIN {refusal} END"
            )
        statements.append(_no_replace(table, _KEYS[table], refusal))
    for table, condition in _MAY_GO.items():
        statements.append(f"DROP TRIGGER {table}_no_delete")
        statements.append(
            f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} WHEN NOT ({condition}) BEGIN {refusal} END"
        )
    return statements


def _stay_erased(table: str, erased: str) -> str:
    when = erased.replace("OLD", "NEW")
    return f"CREATE TRIGGER {table}_stay_erased BEFORE INSERT ON {table} WHEN {when} BEGIN SELECT RAISE(IGNORE); END"


def _no_replace(table: str, key: list[str], answer: str) -> str:
    # INSERT OR REPLACE deletes the old row without asking the triggers for DELETE.
    same = " AND ".join(f"{column} = NEW.{column}" for column in key)
    return (
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
        f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {same}) BEGIN {answer} END"
    )


_FUNCTIONS = (
    *("railscribe_refuse_content", "railscribe_refuse_key", "railscribe_stay_erased"),
    *(f"railscribe_refuse_{table}" for table in _MAY_GO),
)


def _postgresql_triggers() -> list[str]:
    refusal = "RAISE EXCEPTION 'railscribe: append-only' USING ERRCODE = 'restrict_violation'"
    statements = [
        f"""
        CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NOT ({condition}) THEN
                {refusal};
            END IF;
            RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
        END $$
        """
        for name, condition in _conditions()
    ]
    statements.append(f"""
        CREATE FUNCTION railscribe_stay_erased() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_TABLE_NAME = 'subject_keys' THEN
                IF {_KEY_ERASED.replace("OLD", "NEW")} THEN RETURN NULL; END IF;
            ELSIF {_ERASED.replace("OLD", "NEW")} THEN
                RETURN NULL;
            END IF;
            RETURN NEW;
        END $$
        """)
    stay_erased = f"EXECUTE FUNCTION {_FUNCTIONS[2]}()"
    row, whole = "FOR EACH ROW", "FOR EACH STATEMENT EXECUTE FUNCTION railscribe_refuse()"
    statements += [
        f"CREATE TRIGGER contents_no_delete BEFORE DELETE ON contents {row} EXECUTE FUNCTION {_FUNCTIONS[0]}()",
        _before_insert("contents", f"WHEN (NEW.kind LIKE 'late%') {stay_erased}"),
        _before_insert("subject_keys", stay_erased),
        f"CREATE TRIGGER contents_no_truncate BEFORE TRUNCATE ON contents {whole}",
        f"CREATE TRIGGER subject_keys_no_truncate BEFORE TRUNCATE ON subject_keys {whole}",
    ]
    for what in ("update", "delete"):
        statements.append(
            f"CREATE TRIGGER subject_keys_no_{what} BEFORE {what.upper()} ON subject_keys {row} "
            f"EXECUTE FUNCTION {_FUNCTIONS[1]}()"
        )
    for table in _EVIDENCE:
        for what in ("update", "delete"):
            statements.append(
                f"CREATE TRIGGER {table}_no_{what} BEFORE {what.upper()} ON {table} {row} "
                "EXECUTE FUNCTION railscribe_refuse()"
            )
        statements.append(f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} {whole}")
    for table in _MAY_GO:
        statements.append(f"DROP TRIGGER {table}_no_delete ON {table}")
        statements.append(
            f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {row} "
            f"EXECUTE FUNCTION railscribe_refuse_{table}()"
        )
    return statements


def _conditions() -> list[tuple[str, str]]:
    """Return the functions that let a row go, each with its condition."""
    return [
        (_FUNCTIONS[0], f"{_ERASED} OR {_pruned('record_id', _LATE)}"),
        (_FUNCTIONS[1], f"{_KEY_ERASED} OR {_KEY_PRUNED}"),
        *((f"railscribe_refuse_{table}", condition) for table, condition in _MAY_GO.items()),
    ]


def _before_insert(table: str, then: str) -> str:
    return f"CREATE TRIGGER {table}_stay_erased BEFORE INSERT ON {table} FOR EACH ROW {then}"


def _undone(*, on_sqlite: bool) -> list[str]:
    """Return what takes this revision's triggers from the tables that stay, and puts back those of before."""
    third = "no_replace" if on_sqlite else "no_truncate"
    where = "" if on_sqlite else " ON contents"
    statements = [f"DROP TRIGGER contents_{what}{where}" for what in ("no_delete", "stay_erased", third)]
    refused = "BEGIN SELECT RAISE(ABORT, 'railscribe: append-only'); END"
    if not on_sqlite:
        refused = "FOR EACH ROW EXECUTE FUNCTION railscribe_refuse()"
    for table in _MAY_GO:
        if table not in _KEYS:
            statements.append(f"DROP TRIGGER {table}_no_delete{'' if on_sqlite else f' ON {table}'}")
            statements.append(f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {refused}")
    return statements
