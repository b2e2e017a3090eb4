"""The registry of policies: what each was made of, and which one a tag points to, now and at any time before.

    registry = PolicyRegistry(store)
    registry.register(load_registration("bank.yaml"), by="alice")
    registry.move("retail-bank", "prod", digest, by="alice", reason="passed its cases")
    policy = registry.resolve(parse_reference("retail-bank@prod"))

Rules

1. Everything is appended and nothing changed: a tag's position is its latest move, and every earlier one stays.
2. The moves of one tag are numbered without a gap, each with what it pointed to before; their times rise with
   their numbers. Two that come at once are done one after the other.
3. A move that expects a position is refused where the tag has another. One to where the tag points is none.
4. A tag may point elsewhere for one tenant; for all others the tag without a tenant counts.
5. A policy's text as it was registered, and as each decision was made under it, is kept for good.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import sqlalchemy as sa

from railscribe.audit import registrations, tables
from railscribe.audit.contents import Row, iso
from railscribe.audit.rows import EntryKind, Rows, id_of, railscribe_version
from railscribe.audit.store import AuditStore
from railscribe.errors import PolicyError, TagMovedError, UsageError
from railscribe.policy import Policy
from railscribe.policy.reference import DEFAULT_TAG, Reference, digest_of
from railscribe.policy.registration import Registration, policy_of

NOWHERE = "none"
"""Expected of a tag that has not been set yet."""
_LOCK = 0x706F6C69  # "poli"
_TAGS = sa.table(
    "v_policy_tags",
    *map(sa.column, ("policy", "tag", "tenant", "policy_digest", "policy_version")),
    sa.column("moved_at", tables.UtcDateTime()),
    *map(sa.column, ("moved_by", "reason", "previous_digest", "moves")),
)
_TIMELINE = sa.table(
    "v_policy_timeline",
    sa.column("happened_at", tables.UtcDateTime()),
    *map(sa.column, ("event", "policy", "tag", "tenant", "policy_digest", "policy_version")),
    *map(sa.column, ("previous_digest", "by_whom", "reason")),
    sa.column("until", tables.UtcDateTime()),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """What became of a registration."""

    digest: str
    policy_digest: str
    is_new: bool
    """``False``: the very same had been registered before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One move of one tag."""

    name: str
    tag: str
    tenant: str | None
    """``None``: for all who have none of their own."""
    number: int
    policy_digest: str
    previous_digest: str | None
    moved_at: datetime
    moved_by: str
    reason: str | None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON would give it."""
        return {**asdict(self), "moved_at": iso(self.moved_at)}


def _move_rows(move: Move) -> Rows:
    row = {**asdict(move), "tenant": move.tenant or "", "railscribe_version": railscribe_version()}
    return Rows(
        kind=EntryKind.POLICY_MOVE,
        at=move.moved_at,
        id=id_of([move.name, move.tag, move.tenant or "", move.number]),
        shared={},
        own={tables.policy_moves: [row]},
    )


class PolicyRegistry:
    """The policies of one audit store; safe to use from several threads and processes."""

    def __init__(self, store: AuditStore) -> None:
        self._store = store

    def register(self, registration: Registration, *, by: str, reason: str | None = None) -> Registered:
        """Keep *registration*; the same one once, as it was first registered.

        Raises:
            AuditError: it could not be made durable; nothing of it was kept.
        """
        digest, rows = registrations.rows_of(registration, by=_who(by), reason=reason, at=_now())
        registered = tables.policy_registrations
        with self._store.transaction("Registering a policy", write=True) as connection:
            _take_turn(connection)
            known = sa.select(registered.c.digest).where(registered.c.digest == digest)
            is_new = connection.execute(known).first() is None
            if is_new:
                self._store.insert(connection, rows)
        return Registered(digest=digest, policy_digest=registration.policy.digest, is_new=is_new)

    def move(
        self,
        name: str,
        tag: str,
        digest: str,
        *,
        by: str,
        reason: str | None = None,
        tenant: str | None = None,
        expect: str | None = None,
    ) -> Move:
        """Point *name*@*tag* to the policy whose digest begins with *digest*, for *tenant* alone where given.

        *expect* is the digest that the tag is expected to point to now, or ``"none"`` (rule 3).

        Raises:
            PolicyError: there is no such policy, it has another name, or *tag* is one of its versions.
            TagMovedError: the tag points elsewhere than expected.
            AuditError: it could not be made durable; the tag was not moved.
        """
        with self._store.transaction("Moving a tag", write=True) as connection:
            _take_turn(connection)
            policy = _one(_by_digest(connection, digest_of(digest)), digest)
            if policy["name"] != name:
                raise PolicyError(
                    f"The policy {policy['digest'][:12]} is called {policy['name']}, not {name}.",
                    hint="A name's tags point to policies of that name.",
                )
            if _by_version(connection, name, tag):
                raise PolicyError(f"{tag!r} is a version of {name}, so it cannot be a tag of it.")
            latest = _latest(connection, name, tag, tenant or "")
            _refuse_unexpected(latest, expect, f"{name}@{tag}")
            if latest is not None and latest.policy_digest == policy["digest"]:
                return latest
            move = Move(
                name=name,
                tag=tag,
                tenant=tenant or None,
                number=latest.number + 1 if latest else 1,
                policy_digest=policy["digest"],
                previous_digest=latest.policy_digest if latest else None,
                # Clocks of several machines differ, and the order of moves is not to depend on them.
                moved_at=max(_now(), latest.moved_at + timedelta(microseconds=1)) if latest else _now(),
                moved_by=_who(by),
                reason=reason or None,
            )
            self._store.insert(connection, _move_rows(move))
        return move

    def resolve(self, reference: Reference, *, tenant: str | None = None) -> Policy:
        """Return the policy that *reference* names, for *tenant*.

        Raises:
            PolicyError: it names none, or more than one; or this version cannot read the policy.
            AuditError: the database could not be read.
        """
        with self._store.transaction("Looking up a policy") as connection:
            row = _row_of(connection, reference, tenant)
        return policy_of(tables.restored(row["document"]))

    def digest_of(self, reference: Reference, *, tenant: str | None = None) -> str:
        """Return the digest of the policy that *reference* names, for *tenant*.

        Raises:
            PolicyError: it names none, or more than one.
            AuditError: the database could not be read.
        """
        with self._store.transaction("Looking up a policy") as connection:
            return str(_row_of(connection, reference, tenant)["digest"])

    def names(self) -> list[dict[str, Any]]:
        """Return every policy that the store knows, JSON-able: by name, the latest registered first, with its tags.

        Raises:
            AuditError: the database could not be read.
        """
        with self._store.transaction("Listing policies") as connection:
            return registrations.listed(connection, self._tags(connection))

    def history(self, name: str) -> list[dict[str, Any]]:
        """Return what happened to the policies called *name*, oldest first, JSON-able.

        Raises:
            AuditError: the database could not be read.
        """
        query = (
            sa.select(_TIMELINE)
            .where(_TIMELINE.c.policy == tables.storable(name))
            .order_by(_TIMELINE.c.happened_at, _TIMELINE.c.event.desc())
        )
        with self._store.transaction("Reading a policy's history") as connection:
            return [_plain(row) for row in connection.execute(query).mappings()]

    def tags(self, digest: str) -> list[dict[str, Any]]:
        """Return the tags that point to the policy *digest* now, JSON-able.

        Raises:
            AuditError: the database could not be read.
        """
        with self._store.transaction("Reading tags") as connection:
            return [tag for tag in self._tags(connection) if tag["policy_digest"] == digest]

    def registrations(self, digest: str) -> list[dict[str, Any]]:
        """Return how the policy *digest* was registered, each time, oldest first, JSON-able.

        Raises:
            AuditError: the database could not be read.
        """
        with self._store.transaction("Reading registrations") as connection:
            return registrations.whole(connection, digest)

    @staticmethod
    def _tags(connection: sa.Connection) -> list[dict[str, Any]]:
        query = sa.select(_TAGS).order_by(_TAGS.c.policy, _TAGS.c.tag, _TAGS.c.tenant)
        return [_plain(row) for row in connection.execute(query).mappings()]


def _plain(row: Any) -> dict[str, Any]:
    return {name: iso(value) if isinstance(value, datetime) else value for name, value in row.items()}


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _who(by: str) -> str:
    if not by.strip():
        raise UsageError("Somebody registers a policy or moves a tag.", hint="Say who: --by NAME.")
    return by.strip()


def _take_turn(connection: sa.Connection) -> None:
    """Wait for the others who write to the registry; SQLite's write lock is held from the first moment."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


def _refuse_unexpected(latest: Move | None, expect: str | None, tag: str) -> None:
    if expect is None:
        return
    found = latest.policy_digest if latest else None
    met = found is None if expect == NOWHERE else found is not None and found.startswith(digest_of(expect))
    if not met:
        raise TagMovedError(
            f"{tag} points to {found[:12] if found else 'nothing yet'}, not to {expect[:12]}.",
            hint="Somebody moved it: look at railscribe policy log.",
        )


def _latest(connection: sa.Connection, name: str, tag: str, tenant: str) -> Move | None:
    moves = tables.policy_moves.c
    query = (
        sa.select(tables.policy_moves)
        .where(moves.name == name, moves.tag == tag, moves.tenant == tables.storable(tenant))
        .order_by(moves.number.desc())
        .limit(1)
    )
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    fields = {name: value for name, value in row.items() if name != "railscribe_version"}
    return Move(**{**fields, "tenant": row["tenant"] or None})


def _row_of(connection: sa.Connection, reference: Reference, tenant: str | None) -> Row:
    if reference.digest is not None:
        return _one(_by_digest(connection, reference.digest), reference.digest)
    for whose in [tenant, ""] if tenant else [""]:
        move = _latest(connection, reference.name, reference.at, whose or "")
        if move is not None:
            return _one(_by_digest(connection, move.policy_digest), move.policy_digest)
    return _one(_by_version(connection, reference.name, reference.at), str(reference))


def _by_digest(connection: sa.Connection, beginning: str) -> list[Row]:
    policies = tables.policies
    query = sa.select(policies).where(policies.c.digest.startswith(beginning, autoescape=True))
    return [dict(row) for row in connection.execute(query.order_by(policies.c.digest).limit(10)).mappings()]


def _by_version(connection: sa.Connection, name: str, version: str) -> list[Row]:
    policies = tables.policies
    query = sa.select(policies).where(policies.c.name == name, policies.c.version == tables.storable(version))
    return [dict(row) for row in connection.execute(query.order_by(policies.c.digest)).mappings()]


def _one(found: Iterable[Row], asked: str) -> Row:
    """Return the one policy of *found*.

    Raises:
        PolicyError: there is none, or several: they are listed.
    """
    rows = list(found)
    if len(rows) == 1:
        return rows[0]
    if not rows:
        hint = "See what there is: railscribe policy list."
        if "@" in asked and asked.endswith(f"@{DEFAULT_TAG}"):
            hint = f"Set the tag: railscribe policy tag {asked} DIGEST. {hint}"
        raise PolicyError(f"The registry has no policy {asked}.", hint=hint)
    listed = ", ".join(f"{row['name']} {row['version']} {row['digest'][:16]}" for row in rows)
    raise PolicyError(f"{asked} is more than one policy: {listed}.", hint="Give more of its digest.")
