"""Checkpoints carried to an HTTPS server on the loopback: what arrives, and what is said when it fails."""

from __future__ import annotations

import ipaddress
import json
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from railscribe.audit import AuditStore, anchors, open_store
from railscribe.audit.anchors import Anchors
from railscribe.audit.verify import verify_database
from railscribe.settings import Settings
from railscribe.values import Record

RecordFactory = Callable[..., Record]
_Key = ec.EllipticCurvePrivateKey


@dataclass
class Notary:
    """An HTTPS server that keeps the lines it is sent, and misbehaves by path."""

    port: int = 0
    lines: list[str] = field(default_factory=list)
    asked: Event = field(default_factory=Event)
    released: Event = field(default_factory=Event)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"https://{host}:{self.port}{path}"


def _certificate(
    name: str, issuer: tuple[x509.Certificate, _Key] | None = None
) -> tuple[x509.Certificate, _Key]:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(timezone.utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    by, signing = (issuer[0].subject, issuer[1]) if issuer else (subject, key)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(by, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(address, critical=False)
        .sign(signing, hashes.SHA256())
    )
    return made, key


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The file of a CA's certificate, and one of a server's certificate by it, with its key."""
    folder = tmp_path_factory.mktemp("ca")
    ca = _certificate("railscribe test CA")
    server, key = _certificate("notary", ca)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "ca.pem").write_bytes(ca[0].public_bytes(serialization.Encoding.PEM))
    (folder / "server.pem").write_bytes(server.public_bytes(serialization.Encoding.PEM) + private)
    return folder / "ca.pem", folder / "server.pem"


@pytest.fixture
def notary(authority: tuple[Path, Path]) -> Iterator[Notary]:
    """A notary that listens."""
    notary = Notary()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            line = self.rfile.read(int(self.headers["Content-Length"])).decode()
            notary.asked.set()
            if self.path == "/hang":
                notary.released.wait(20)
                return
            status = {"/": 204, "/500": 500, "/elsewhere": 302}[self.path]
            if status == 204:
                notary.lines.append(line)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", notary.url("/"))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            notary.lines.append("followed")
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority[1])
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign] # clients that refuse us are wanted
    notary.port = server.server_port
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield notary
    notary.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def trusted(authority: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The CA is trusted the way that every program of OpenSSL's is told."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority[0]))


def bodies(store: AuditStore) -> list[dict[str, Any]]:
    """Return what the checkpoints say."""
    return [json.loads(body) for (body,) in store.select("SELECT body FROM checkpoints ORDER BY number")[1]]


@pytest.mark.usefixtures("trusted")
def test_every_checkpoint_arrives(
    notary: Notary, database_url: str, tmp_path: Path, undecided: RecordFactory
) -> None:
    """By the setting anchor_url each checkpoint is posted as one line, and what arrived verifies the chain."""
    with open_store(Settings(database_url=database_url, anchor_url=notary.url())) as store:
        store.append(undecided())
        store.seal()
        hashes_there = store.select("SELECT number, hash, signature FROM checkpoints ORDER BY number")[1]
    anchor = tmp_path / "anchor"
    anchor.write_text("".join(notary.lines), encoding="ascii")

    assert [tuple(line.split()) for line in notary.lines][:2] == [
        (str(number), found, signature) for number, found, signature in hashes_there
    ]
    report = verify_database(database_url, anchors=[anchor])
    assert (report.ok, report.checked["anchored"]) == (True, 3)


@pytest.mark.parametrize(
    ("path", "host", "is_trusted", "cause"),
    [
        pytest.param("/500", "127.0.0.1", True, "HTTP 500", id="fails"),
        pytest.param("/elsewhere", "127.0.0.1", True, "HTTP 302", id="redirects"),
        pytest.param("/hang", "127.0.0.1", True, "TimeoutError", id="hangs"),
        pytest.param("/", "localhost", True, "SSLCertVerificationError", id="another name"),
        pytest.param("/", "127.0.0.1", False, "SSLCertVerificationError", id="unknown CA"),
    ],
)
def test_a_server_that_fails_holds_up_nothing_and_is_on_record(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    notary: Notary,
    database_url: str,
    undecided: RecordFactory,
    path: str,
    host: str,
    is_trusted: bool,
    cause: str,
) -> None:
    """Appending and sealing go on, nothing is taken as anchored, and the next checkpoint says what failed."""
    if is_trusted:
        request.getfixturevalue("trusted")
    if path == "/hang":
        monkeypatch.setattr(anchors, "_EACH_S", 0.3)
    carrier = Anchors(url=notary.url(path, host))
    with AuditStore.open(database_url, anchors=carrier) as store:
        store.append(undecided(0))
        store.seal()
        if path == "/hang":
            assert notary.asked.wait(10)
        store.append(undecided(1))  # while the request hangs, or failed
        carrier.close()
        store.seal()
        failed = [one for body in bodies(store) for one in body.get("anchor_failures", ())]

    assert {(one["by"], one["cause"]) for one in failed} == {("url", cause)}
    assert {1, 2} <= {one["number"] for one in failed}
    assert notary.lines == []
    assert verify_database(database_url).ok


@pytest.mark.usefixtures("trusted")
def test_a_server_that_hangs_is_waited_for_by_nobody(
    monkeypatch: pytest.MonkeyPatch, notary: Notary, database_url: str, undecided: RecordFactory
) -> None:
    """While a request hangs, appends are durable and sealed; closing waits no longer than it says."""
    monkeypatch.setattr(anchors, "CLOSE_S", 0.1)
    with AuditStore.open(database_url, anchors=Anchors(url=notary.url("/hang"))) as store:
        store.append(undecided(0))
        assert notary.asked.wait(10)
        for number in range(1, 20):
            store.append(undecided(number))
        store.seal()
        assert not notary.released.is_set()
        assert store.select("SELECT count(*) FROM records")[1] == [(20,)]

    report = verify_database(database_url)
    assert (report.ok, report.told["unsealed"], report.told["open_writers"]) == (True, 0, [])
