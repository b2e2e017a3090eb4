"""Who may do what on PostgreSQL: every right is tried with a login of its own, on a server that is really there."""

# ruff: noqa: S608 - names of tables and roles, all of them ours
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from railscribe.audit import (
    AuditStore,
    PolicyRegistry,
    ReviewDecision,
    Reviews,
    access,
    erase,
    partitions,
    prune,
    schema,
    tables,
)
from railscribe.audit.content_keys import LocalKeyFile, SubjectKeys
from railscribe.audit.database import open_engine, parse_url
from railscribe.audit.keeping import Keeping
from railscribe.audit.separation import condition
from railscribe.audit.verify import verify_database
from railscribe.errors import AuditError, UsageError
from railscribe.policy import load_policy, render
from railscribe.policy.load import load_registration
from railscribe.values import ContentMode, EngineInfo, Identity, LateTrace, Probe, Reasoning, Record, Review

pytestmark = pytest.mark.postgres

RecordFactory = Callable[..., Record]
SECRET = "globexsecret"  # noqa: S105 - no password
"""Stands in everything of the other tenant's."""


@dataclass(frozen=True)
class Deployment:
    """An audit database with roles, made by somebody who is no superuser, and a login for each role."""

    url: str
    """A superuser's, for looking on."""
    schema: str
    prefix: str

    def of(self, login: str) -> str:
        """The URL of *login*, which is the name of a role, or ``admin``, ``acme``, ``nobody``."""
        return self.url.replace("postgres@", f"{self.prefix}_login_{login}@")

    @contextmanager
    def as_(self, login: str) -> Iterator[psycopg.Connection[Any]]:
        """A bare connection of *login*, each statement its own transaction."""
        url = parse_url(self.of(login) if login != "postgres" else self.url)
        host, user = str(url.query["host"]), str(url.username)
        with psycopg.connect(host=host, user=user, dbname="postgres", autocommit=True) as connection:
            connection.execute(f"SET search_path = {self.schema}")
            yield connection


def deploy(url: str) -> Deployment:
    """Make the roles in the empty database at *url*, as an administrator with CREATEROLE and no more."""
    name = url.rpartition("%3D")[2]
    made = Deployment(url=url, schema=name, prefix=f"rs_{name}")
    with made.as_("postgres") as connection:
        connection.execute(f"CREATE ROLE {made.prefix}_login_admin LOGIN CREATEROLE")
        connection.execute(f"ALTER SCHEMA {name} OWNER TO {made.prefix}_login_admin")
    schema.upgrade(made.of("admin"))
    told = access.set_up(made.of("admin"), prefix=made.prefix)
    assert told["open"] == []
    access.set_up(
        made.of("admin"), auditor=f"{made.prefix}_acme", tenants=["acme"], by="admin", prefix=made.prefix
    )
    with made.as_("admin") as connection:
        for role in ("writer", "auditor", "reviewer", "operator", "acme", "nobody"):
            connection.execute(f"CREATE ROLE {made.prefix}_login_{role} LOGIN")
            if role != "nobody":
                connection.execute(f"GRANT {made.prefix}_{role} TO {made.prefix}_login_{role}")
        connection.execute(f"GRANT {made.prefix}_writer TO {made.prefix}_login_reviewer")
    return made


@pytest.fixture(scope="module")
def _deployments() -> dict[str, Deployment]:
    return {}


@pytest.fixture
def deployed(
    _postgres: Callable[[], str],
    _deployments: dict[str, Deployment],
    fill: Callable[[AuditStore], None],
    blocked: RecordFactory,
    undecided: RecordFactory,
    late: Callable[..., LateTrace],
    probe: Callable[..., Probe],
) -> Deployment:
    """A deployment in which a writer has kept something of two tenants in every table. One for all: to look at."""
    if "one" not in _deployments:
        made = deploy(_postgres())
        with AuditStore.open(made.of("writer")) as store:
            _append(store, blocked, undecided, late, probe)
        with AuditStore.open(made.of("reviewer")) as store:
            reviews = Reviews(store)
            for number in (0, 2):
                reviews.append(blocked(number).id, ReviewDecision.ESCALATE, reason="Unclear.", by="carol")
        _deployments["one"] = made
    return _deployments["one"]


@pytest.fixture
def own(_postgres: Callable[[], str]) -> Deployment:
    """A deployment of the test's own to break, without records."""
    return deploy(_postgres())


def _append(
    store: AuditStore,
    blocked: RecordFactory,
    undecided: RecordFactory,
    late: Callable[..., LateTrace],
    probe: Callable[..., Probe],
) -> None:
    """Two tenants' records, each with reasons for review, deferred reasoning and a policy and an engine of its own."""
    ours, theirs = (
        blocked(0).identity,
        Identity(tenant="globex", session=SECRET, request=SECRET, subject=SECRET),
    )
    policy = replace(load_policy("default"), name=SECRET)
    engine = EngineInfo(name="transformers", model=SECRET, adapter=SECRET)
    said = replace(blocked().verdict, trace=SECRET, reply=SECRET)
    of_them: dict[str, Any] = {
        "identity": theirs,
        "exchange": replace(blocked().exchange, user=SECRET, response=SECRET),
        "verdict": said,
        "rendering": render(policy),
        "engine": engine,
        "decision": replace(blocked().decision, rule=SECRET),
        "image": replace(blocked().readings[0], text=SECRET),
        "readings": (replace(blocked().readings[0], text=SECRET),),
        "rail": SECRET,
    }
    for number, changes in enumerate([{}, {}, of_them, of_them]):
        record = blocked(number, reviews=(Review.SCORE_IN_BAND,), reasoning=Reasoning.DEFERRED, **changes)
        store.append(record)
        if number % 2:
            store.append_late_trace(late(record))
    store.append(undecided(4, identity=ours))
    store.append(undecided(5, identity=theirs, engine=engine))
    store.append_probes([probe(engine=blocked().engine), probe(engine=engine, address=SECRET)])
    registry, read = PolicyRegistry(store), load_registration("dev-tools-assistant")
    registry.register(read, by="alice")
    registry.register(replace(load_registration("default"), policy=policy), by=SECRET)
    registry.move(read.policy.name, "prod", read.policy.digest, by="alice")
    registry.move(read.policy.name, "prod", read.policy.digest, by="alice", tenant="acme")
    registry.move(SECRET, "prod", policy.digest, by=SECRET, tenant="globex")


def denied(connection: psycopg.Connection[Any], statement: str) -> None:
    """Expect that the login has no right to do this, whatever triggers would say."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement)


def rows_of(connection: psycopg.Connection[Any], view: str) -> tuple[list[str], list[str]]:
    """Return a view's columns and its rows, in an order."""
    cursor = connection.execute(f"SELECT * FROM {view}")
    assert cursor.description is not None
    return [column.name for column in cursor.description], sorted(map(repr, cursor.fetchall()))


def test_the_writer_keeps_every_kind(deployed: Deployment) -> None:
    """With insert and keys alone, everything that a store appends was appended (the fixture did, as the writer)."""
    with deployed.as_("postgres") as connection:
        counts = {
            table.name: connection.execute(f"SELECT count(*) FROM {table.name}").fetchone()
            for table in tables.EVIDENCE
        }
    filled = ("records", "late_traces", "engine_probes", "policy_registrations", "policy_moves", "reviews")
    assert [name for name in filled if counts[name] == (0,)] == []


def test_the_writer_changes_and_reads_nothing(deployed: Deployment) -> None:
    """The writer can neither update, delete from, empty or drop a table, nor take its triggers or policies away."""
    with deployed.as_("writer") as connection:
        for table in (*tables.EVIDENCE, tables.contents):
            name, column = table.name, next(iter(table.columns)).name
            trigger = f"{name}_no_update"
            for statement in (
                f"UPDATE {name} SET {column} = {column}",
                f"DELETE FROM {name}",
                f"TRUNCATE {name}",
                f"DROP TABLE {name} CASCADE",
                f"ALTER TABLE {name} DISABLE TRIGGER ALL",
                f"ALTER TABLE {name} DISABLE TRIGGER {trigger}",
                f"ALTER TABLE {name} DISABLE ROW LEVEL SECURITY",
                f"DROP TRIGGER {trigger} ON {name}",
                f"CREATE RULE gone AS ON INSERT TO {name} DO INSTEAD NOTHING",
                f"CREATE TRIGGER mine BEFORE INSERT ON {name} EXECUTE FUNCTION railscribe_refuse()",
                f"CREATE POLICY mine ON {name} USING (true)",
            ):
                denied(connection, statement)
        for statement in (
            "SELECT body FROM contents",
            "INSERT INTO contents DEFAULT VALUES RETURNING body",
            "INSERT INTO records DEFAULT VALUES RETURNING subject",
            "SELECT count(*) FROM contents",
            "COPY contents TO STDOUT",
            "SELECT subject FROM records",
            "SELECT outcome FROM records",
            "SELECT reason FROM reviews",
            "SELECT * FROM v_checks",
            "SET session_replication_role = replica",
            f"CREATE TABLE {deployed.schema}.mine (id integer)",
            f"CREATE FUNCTION {deployed.schema}.lower(text) RETURNS text LANGUAGE sql AS 'SELECT 1'",
            f"SET ROLE {deployed.prefix}_operator",
            f"SET ROLE {deployed.prefix}_views",
            f"UPDATE {tables.VERSION_TABLE} SET version_num = '0'",
            "INSERT INTO tenant_auditors VALUES ('a', 'b', now(), 'c')",
        ):
            denied(connection, statement)


def test_the_auditor_asks_every_view_and_no_table(deployed: Deployment) -> None:
    """Views answer, with content; tables do not, and nothing can be written."""
    with deployed.as_("auditor") as connection:
        for view in tables.VIEWS:
            rows_of(connection, view)
            for statement in (f"DELETE FROM {view}", f"INSERT INTO {view} DEFAULT VALUES"):
                with pytest.raises(
                    (psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState)
                ):
                    connection.execute(statement)
            denied(connection, f"DROP VIEW {view}")
        for name in tables.metadata.tables:
            denied(connection, f"SELECT * FROM {name}")
            denied(connection, f"SELECT count(*) FROM {name}")
            denied(connection, f"INSERT INTO {name} DEFAULT VALUES")
        checks = connection.execute("SELECT tenant, user_text FROM v_checks ORDER BY id").fetchall()
    assert {tenant for tenant, _ in checks} == {"acme", "globex"}
    assert (("globex", SECRET) in checks) is True

    with AuditStore.open(deployed.of("auditor")) as store:
        assert len(store.records()) == 6


def test_nobody_has_anything(deployed: Deployment) -> None:
    """Nothing was left to PUBLIC: a login without a role reads no view, no table, and calls no function."""
    with deployed.as_("nobody") as connection:
        for name in (*tables.metadata.tables, *tables.VIEWS, tables.VERSION_TABLE):
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedTable)):
                connection.execute(f"SELECT 1 FROM {deployed.schema}.{name}")
    with pytest.raises(AuditError):
        AuditStore.open(deployed.of("nobody"))


def test_functions_that_act_as_their_owner_pin_their_search_path(deployed: Deployment) -> None:
    """No SECURITY DEFINER function looks anywhere but into the catalogue and its own schema, temporary ones last."""
    query = """
        SELECT proname::text, coalesce(array_to_string(proconfig, '; '), '') FROM pg_proc
        WHERE prosecdef AND pronamespace = current_schema()::regnamespace
    """
    with deployed.as_("postgres") as connection:
        found = connection.execute(query).fetchall()

    assert [name for name, _ in found] == ["railscribe_refuse_review"]
    for _, pinned in found:
        assert pinned == f"search_path=pg_catalog, {deployed.schema}, pg_temp"


def test_a_forged_table_deceives_no_trigger(deployed: Deployment, blocked: RecordFactory) -> None:
    """A temporary table of the same name, first in the search path, does not make a subject somebody else."""
    record = blocked(1)
    review = (
        f"INSERT INTO {deployed.schema}.reviews VALUES ('{record.checked_at.isoformat()}', '{record.id}', 1, 'acme', "
        "'block', 'overturn', 'Mine.', '{by}', now(), NULL, '0')"
    )
    with deployed.as_("writer") as connection:
        connection.execute(
            "CREATE TEMP TABLE records (checked_at timestamptz, id text, tenant text, outcome text)"
        )
        connection.execute("ALTER TABLE pg_temp.records ADD subject text")
        connection.execute(
            f"INSERT INTO pg_temp.records VALUES ('{record.checked_at.isoformat()}', '{record.id}', 'acme', 'block')"
        )
        connection.execute(
            "CREATE FUNCTION pg_temp.lower(text) RETURNS text LANGUAGE sql AS 'SELECT random()::text'"
        )
        connection.execute(f"SET search_path = pg_temp, pg_catalog, {deployed.schema}")

        with pytest.raises(psycopg.errors.CheckViolation, match="a review of another's record"):
            connection.execute(review.format(by="user-42"))


def test_every_table_is_separated(deployed: Deployment) -> None:
    """Row-level security is on for every table there is, and its conditions name no tenant, for all may read them."""
    with deployed.as_("acme") as connection:
        open_ones = connection.execute(
            "SELECT relname::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace"
            " AND relkind IN ('r', 'p') AND NOT relrowsecurity"
        ).fetchall()
        conditions = connection.execute(
            "SELECT string_agg(coalesce(qual, ''), ' ') FROM pg_policies WHERE schemaname = current_schema()"
        ).fetchone()
        learnt = connection.execute(
            "SELECT count(*) FROM pg_stats WHERE schemaname = current_schema()"
        ).fetchone()

    assert open_ones == [(tables.VERSION_TABLE,)]
    assert conditions is not None
    assert not {"acme", "globex"} & set(conditions[0].replace("'", " ").split())
    assert learnt == (0,)


def test_what_is_hidden_until_it_says_whose_it_is() -> None:
    """A table that names no tenant and points at nothing that does is for those who see all."""
    other = sa.Table("other", sa.MetaData(), sa.Column("id", sa.Text, primary_key=True))

    assert condition(other) is None
    assert "tenant IN" in (condition(tables.records) or "")
    assert "FROM records WHERE" in (condition(tables.contents) or "")
    assert "FROM policies WHERE" in (condition(tables.policy_registrations) or "")


def _forget(connection: psycopg.Connection[Any], tenant: str) -> None:
    """Take away all that there would not be if *tenant* had never been, past triggers and keys."""
    connection.execute("SET session_replication_role = replica")
    of_records = [table for table in tables.metadata.tables.values() if "record_id" in table.c]
    for table in tables.metadata.tables.values():
        if "tenant" in table.c and table is not tables.tenant_auditors:
            connection.execute(f"DELETE FROM {table.name} WHERE tenant = %s", [tenant])
    for table in of_records:
        connection.execute(f"DELETE FROM {table.name} WHERE record_id NOT IN (SELECT id FROM records)")
    used = {
        "policies": "SELECT policy_digest FROM records UNION SELECT policy_digest FROM policy_moves",
        "policy_texts": "SELECT policy_text_digest FROM records",
        "engines": "SELECT engine_digest FROM records",
    }
    for name, by in used.items():
        connection.execute(f"DELETE FROM {name} WHERE digest NOT IN ({by})")
    connection.execute("DELETE FROM engine_probes WHERE engine_digest NOT IN (SELECT digest FROM engines)")
    connection.execute(
        "DELETE FROM policy_registrations WHERE policy_digest NOT IN (SELECT digest FROM policies)"
    )


def test_a_bound_auditor_sees_what_would_be_there_without_the_others(deployed: Deployment) -> None:
    """Every view, sums included, says to the auditor of one tenant what it would say had the others never been."""
    with deployed.as_("auditor") as connection:
        everything = {view: rows_of(connection, view) for view in tables.VIEWS}
    told_apart = [view for view in tables.VIEWS if "tenant" in everything[view][0]]
    with deployed.as_("acme") as connection:
        bound = {view: rows_of(connection, view) for view in told_apart}
        for view in set(tables.VIEWS) - set(told_apart):
            denied(connection, f"SELECT * FROM {view}")
    with deployed.as_("postgres") as connection, connection.transaction(force_rollback=True):
        _forget(connection, "globex")
        connection.execute(f"SET LOCAL ROLE {deployed.prefix}_auditor")
        alone = {view: rows_of(connection, view) for view in tables.VIEWS}

    assert {"v_checks", "v_reviews", "v_review_decisions", "v_policy_timeline"} <= {
        view for view in tables.VIEWS if everything[view][1]
    }
    for view, (_, rows) in bound.items():
        assert rows == alone[view][1], view
        assert rows != everything[view][1] or not rows, view
        assert not any(SECRET in row or "globex" in row for row in rows), view


def test_no_trick_shows_another_tenants_rows(deployed: Deployment) -> None:
    """Neither a function that tells what it is given, nor an error that quotes it, nor a plan gives any away."""
    overheard: list[str] = []
    asked: dict[str, list[str]] = {}
    tricks = (
        "SELECT count(*) FROM {view} WHERE pg_temp.tell({column}::text)",
        "SELECT count(*) FROM {view} WHERE CAST({column}::text AS integer) = 1",
        "SELECT count(*) FROM {view} WHERE 1 / (length({column}::text) - length({column}::text)) = 1",
        "EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM {view} WHERE pg_temp.tell({column}::text)",
        "SELECT pg_temp.tell({column}::text) FROM {view} ORDER BY pg_temp.tell({column}::text)",
    )
    with deployed.as_("acme") as connection:
        connection.add_notice_handler(lambda notice: overheard.append(str(notice.message_primary)))
        connection.execute(
            "CREATE FUNCTION pg_temp.tell(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS "
            "$$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$"
        )
        for view in tables.VIEWS:
            with suppress(psycopg.errors.InsufficientPrivilege):
                asked[view], _ = rows_of(connection, view)
        for view, columns in asked.items():
            for column in columns:
                for trick in tricks:
                    try:
                        cursor = connection.execute(trick.format(view=view, column=f'"{column}"'))
                        overheard.extend(map(repr, cursor.fetchall()))
                    except psycopg.Error as error:
                        overheard.append(str(error))

    assert any("dev-tools-assistant" in words for words in overheard)  # the tricks do hear what is one's own
    assert [words for words in overheard if SECRET in words or "globex" in words] == []


def test_a_bound_auditor_cannot_step_out(deployed: Deployment) -> None:
    """Neither another role, nor a setting, nor the list of who is bound to what is within reach."""
    with deployed.as_("acme") as connection:
        for role in ("auditor", "reviewer", "operator", "views", "writer"):
            denied(connection, f"SET ROLE {deployed.prefix}_{role}")
            denied(connection, f"GRANT {deployed.prefix}_{role} TO {deployed.prefix}_login_acme")
        denied(connection, "SELECT * FROM tenant_auditors")
        denied(
            connection,
            f"INSERT INTO tenant_auditors VALUES ('{deployed.prefix}_acme', 'globex', now(), 'me')",
        )
        denied(connection, "ALTER VIEW v_checks SET (security_invoker = true)")
        connection.execute("SET row_security = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            connection.execute("SELECT * FROM v_checks")


def test_binding_again_and_unbinding(own: Deployment, undecided: RecordFactory) -> None:
    """An auditor sees the tenants named last, each of them, and nothing once it is unbound."""
    name = f"{own.prefix}_acme"
    with AuditStore.open(own.of("writer")) as store:
        for number, tenant in enumerate(["acme", "globex", "o'hara; --", "initech"]):
            store.append(undecided(number, identity=Identity(tenant=tenant)))

    def seen() -> list[str]:
        with own.as_("acme") as connection:
            return [row[0] for row in connection.execute("SELECT tenant FROM v_checks ORDER BY id")]

    assert seen() == ["acme"]
    told = access.set_up(
        own.of("admin"), auditor=name, tenants=["globex", "o'hara; --"], by="admin", prefix=own.prefix
    )
    assert told["auditors"] == {name: ["globex", "o'hara; --"]}
    assert seen() == ["globex", "o'hara; --"]
    assert access.take_down(own.of("admin"), auditor=name, prefix=own.prefix) == [name]
    with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedTable)):
        seen()


def test_who_sees_all_cannot_be_bound(own: Deployment) -> None:
    """A role that is a member of one that sees everything is refused: binding it would promise what does not hold."""
    before = rights(own)

    for login in ("auditor", "operator"):
        name = f"{own.prefix}_login_{login}"
        with pytest.raises(AuditError, match="sees all tenants"):
            access.set_up(own.of("admin"), auditor=name, tenants=["acme"], by="admin", prefix=own.prefix)
    with pytest.raises(UsageError, match="--auditor NAME and --tenant T together"):
        access.set_up(own.of("admin"), auditor="somebody", prefix=own.prefix)

    assert rights(own) == before


def rights(own: Deployment) -> list[tuple[Any, ...]]:
    """Return every owner, right and policy in the deployment's schema."""
    query = """
        SELECT relname::text, relowner::regrole::text,
               (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(relacl) a) FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'v', 'p')
        UNION ALL SELECT attrelid::regclass::text || '.' || attname, '', attacl::text FROM pg_attribute
        JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = current_schema()::regnamespace AND attacl IS NOT NULL
        UNION ALL SELECT tablename || ' ' || policyname, roles::text, coalesce(qual, '') || coalesce(with_check, '')
        FROM pg_policies WHERE schemaname = current_schema()
        UNION ALL SELECT proname::text, proowner::regrole::text, proacl::text FROM pg_proc
        WHERE pronamespace = current_schema()::regnamespace
        ORDER BY 1, 2, 3
    """
    with own.as_("postgres") as connection:
        return connection.execute(query).fetchall()


def test_no_partition_is_a_way_round(deployed: Deployment) -> None:
    """Asked by its own name, a partition gives nobody but the operator anything, however its table is granted."""
    parts = [f"{table.name}_default" for table in partitions.TABLES]
    parts += [
        partitions.Month.of(datetime.now(tz=timezone.utc)).partition(table) for table in partitions.TABLES
    ]
    for login in ("writer", "auditor", "reviewer", "acme"):
        with deployed.as_(login) as connection:
            for part in parts:
                for statement in (
                    f"SELECT * FROM {part}",
                    f"SELECT count(*) FROM {part}",
                    f"INSERT INTO {part} DEFAULT VALUES",
                    f"DELETE FROM {part}",
                    f"TRUNCATE {part}",
                    f"ALTER TABLE {part} DISABLE TRIGGER ALL",
                    f"DROP TABLE {part}",
                ):
                    denied(connection, statement)
            denied(connection, f"ALTER TABLE entries DETACH PARTITION {parts[0]}")
    with deployed.as_("postgres") as connection:
        query = "SELECT DISTINCT relowner::regrole::text, relacl, relrowsecurity FROM pg_class WHERE relname = ANY(%s)"
        found = connection.execute(
            f"{query} AND relnamespace = %s::regnamespace", (parts, deployed.schema)
        ).fetchall()
    assert found == [(f"{deployed.prefix}_operator", None, True)]


def test_the_operator_makes_and_drops_months(own: Deployment, undecided: RecordFactory) -> None:
    """A writer goes on without a month; the operator's prune makes it, for the owner, moves rows, and drops it."""
    now = datetime.now(tz=timezone.utc)
    old = partitions.Month.of(now - timedelta(days=400))
    next_ = partitions.Month(old.number + 1)
    last = partitions.Month(partitions.Month.of(now).number + partitions.AHEAD)
    engine = open_engine(parse_url(own.of("operator")))
    with engine.begin() as connection:
        assert partitions.drop(connection, last)
    with AuditStore.open(own.of("writer")) as store:
        store.append(undecided(0, checked_at=old.begins))
        store.append(undecided(1, checked_at=old.ends))
    before = rights(own)
    with AuditStore.open(own.of("operator")) as store:
        (kept,) = prune(store, terms={"default": 9999}, by="operator", reason="a look")
        made = sorted(set(rights(own)) - set(before))
        (done,) = prune(store, terms={"default": 183}, by="operator", reason="its term is over")
        assert (kept.records, done.records, done.months) == (
            0,
            2,
            (str(old), str(next_)),
        )
    assert {row[0] for row in made} == {
        month.partition(table) for month in (old, next_, last) for table in partitions.TABLES
    }
    assert {row[1:] for row in made} == {(f"{own.prefix}_operator", None)}
    with engine.begin() as connection:
        assert not {old, next_} & set(partitions.months(connection))
    engine.dispose()
    assert schema.check(own.url) == []
    assert verify_database(own.url).ok


def test_again_changes_nothing(own: Deployment) -> None:
    """Running it twice gives the same rights as once, also for somebody who is an operator and no more."""
    before = rights(own)

    access.set_up(own.of("admin"), prefix=own.prefix)
    assert rights(own) == before
    access.set_up(own.of("operator"), prefix=own.prefix)
    assert rights(own) == before
    access.set_up(own.url, prefix=own.prefix)
    assert rights(own) == before


def test_an_operator_upgrades(own: Deployment) -> None:
    """What a migration makes belongs to the operator's role, is nobody else's at first, and is granted by a rerun."""
    before = rights(own)
    schema.upgrade(own.of("operator"))
    assert rights(own) == before

    engine = open_engine(parse_url(own.of("operator")))
    with engine.begin() as connection:  # as schema.upgrade does
        access.act_as_owner(connection)
        select = connection.execute(sa.text("SELECT pg_get_viewdef('v_review_queue'::regclass)")).scalar_one()
        connection.exec_driver_sql("DROP VIEW v_review_queue")
        connection.exec_driver_sql(f"CREATE VIEW v_review_queue AS {select}")
    engine.dispose()

    made = [row for row in rights(own) if row[0] == "v_review_queue"]
    assert made == [("v_review_queue", f"{own.prefix}_operator", None)]
    with own.as_("auditor") as connection:
        denied(connection, "SELECT * FROM v_review_queue")
    access.set_up(own.of("operator"), prefix=own.prefix)
    assert rights(own) == before


def test_a_database_with_roles_is_not_taken_back(own: Deployment) -> None:
    """A downgrade is refused before it fails half-way, with the command that comes first."""
    with pytest.raises(AuditError, match="railscribe db roles --drop"):
        schema.downgrade(own.of("operator"), "0005")


def test_taking_down(own: Deployment, undecided: RecordFactory) -> None:
    """Afterwards no role has anything, the tables are the administrator's again, and records go on."""
    with AuditStore.open(own.of("writer")) as store:
        store.append(undecided(0))

    left = access.take_down(own.of("admin"), prefix=own.prefix)

    assert left == []
    for login in ("writer", "auditor", "acme"):
        with pytest.raises(AuditError):
            AuditStore.open(own.of(login))
    with AuditStore.open(own.of("admin")) as store:
        store.append(undecided(1))
        assert len(store.records()) == 2
    assert schema.check(own.of("admin")) == []


def test_what_stands_open_is_said(own: Deployment) -> None:
    """A schema in which everybody may create objects, which somebody else owns, is named, for nobody can close it."""
    with own.as_("postgres") as connection:
        connection.execute(f"ALTER SCHEMA {own.schema} OWNER TO postgres")
        connection.execute(f"GRANT CREATE ON SCHEMA {own.schema} TO PUBLIC")

    told = access.set_up(own.of("operator"), prefix=own.prefix)

    assert told["open"] == [f"everybody may create objects in the schema {own.schema}"]


def test_what_is_printed_is_what_is_run(empty_postgres_url: str) -> None:
    """The printed statements, run one after the other by hand, give the very same rights."""
    url = empty_postgres_url
    name = url.rpartition("%3D")[2]
    own = Deployment(url=url, schema=name, prefix=f"rs_{name}")
    schema.upgrade(url)
    statements = access.statements_for(prefix=own.prefix)
    with own.as_("postgres") as connection:
        connection.execute(";\n".join(["BEGIN", *statements, "COMMIT"]))
    by_hand = rights(own)

    access.set_up(url, prefix=own.prefix)

    assert rights(own) == by_hand
    access.take_down(url, prefix=own.prefix)


def test_a_login_without_the_right_is_told(deployed: Deployment) -> None:
    """Whoever may not make roles, or read tables, gets a sentence and where to look, and no text of the database's."""
    with pytest.raises(AuditError, match=r"this login may not do that .* docs/access\.md"):
        access.set_up(deployed.of("writer"), prefix=deployed.prefix)
    with AuditStore.open(deployed.of("auditor")) as store, pytest.raises(AuditError, match="may not do that"):
        store.select("SELECT * FROM contents")


def test_sqlite_says_that_it_has_none(database_url: str) -> None:
    """Roles are refused on SQLite with what holds there instead."""
    with pytest.raises(UsageError, match="SQLite has no roles: whoever can read the file reads all of it"):
        access.set_up(database_url)
    engine = open_engine(parse_url(database_url))
    with engine.connect() as connection:
        assert access.is_set_up(connection) is False
    engine.dispose()


@pytest.mark.parametrize("mode", [ContentMode.ENCRYPTED, ContentMode.DIGEST])
def test_content_modes_under_the_roles(
    own: Deployment,
    blocked: RecordFactory,
    late: Callable[..., LateTrace],
    mode: ContentMode,
) -> None:
    """The writer's role keeps content in each mode, again and late, under one key; an operator erases it, and nobody
    who audits ever sees a key."""
    wrapper = LocalKeyFile(b"k" * 32)
    keeping = Keeping(mode=mode, digest_key=b"d" * 32, wrapper=wrapper, keys=SubjectKeys(wrapper))
    keys = 1 if mode is ContentMode.ENCRYPTED else 0
    for number in range(2):  # two processes: the second finds the key of the first
        keeping = replace(keeping, keys=SubjectKeys(wrapper))
        with AuditStore.open(own.of("writer"), keep_images=True, keep_chars=9, keeping=keeping) as store:
            store.append(blocked(number))
            of = {"identity": blocked(number).identity, "policy": blocked(number).rendering.policy_name}
            store.append_late_trace(late(blocked(number), **of))
    with own.as_("postgres") as connection:
        assert connection.execute("SELECT count(*) FROM subject_keys").fetchone() == (keys,)
    with AuditStore.open(own.of("reviewer"), keeping=keeping) as store:
        text = store.record(blocked(0).id)["content"]["user"]["text"]
        assert text == (blocked(0).exchange.user[:9] if mode is ContentMode.ENCRYPTED else None)

    for login in ("auditor", "acme", "writer"):
        with own.as_(login) as connection:
            if login != "writer":  # which encrypts under them
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute("SELECT wrapped FROM subject_keys")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT body FROM contents")
    wrapped = {row["wrapped"] for row in _keys_of(own)}
    with own.as_("auditor") as connection:
        shown = str([connection.execute(f"SELECT * FROM {view}").fetchall() for view in tables.VIEWS])
    assert not [key for key in wrapped if key in shown]
    assert "It asks for a knife." not in shown
    with AuditStore.open(own.of("writer")) as store, pytest.raises(AuditError):
        erase(store, subject="user-42", by="thief", reason="none")

    with AuditStore.open(own.of("operator")) as store:
        done = erase(store, subject="user-42", by="dpo", reason="asked to")
    assert (done.records, done.keys) == (2, keys)
    assert _keys_of(own) == []
    report = verify_database(own.of("operator"))
    assert (report.failures, set(report.contents)) == ([], {"erased"})
    with AuditStore.open(own.of("writer"), keeping=keeping) as store:  # life goes on, under another key
        store.append(blocked(2))
    assert not {row["wrapped"] for row in _keys_of(own)} & wrapped
    assert verify_database(own.of("operator")).ok


def _keys_of(deployment: Deployment) -> list[dict[str, Any]]:
    with deployment.as_("postgres") as connection:
        found = connection.execute("SELECT digest, wrapped FROM subject_keys").fetchall()
    return [{"digest": digest, "wrapped": wrapped} for digest, wrapped in found]
