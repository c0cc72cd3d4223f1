"""Fetching what people send, from a real server."""

import itertools
import socket
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dingwire.errors import (
    MediaError,
    MediaNotAllowedError,
    MediaRefusedError,
    MediaTooLargeError,
    MediaUnavailableError,
    MediaWrongTypeError,
)
from dingwire.media import DOWNLOAD_PATH, MediaClient
from dingwire.media_hosts import MediaHosts
from dingwire.openapi import TOKEN_PATH, OpenApiClient
from tests.unit.dingwire.local_server import LocalServer, Told, running

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
CODE = "private-download-code-123"


@pytest.fixture
def storage(server: LocalServer) -> LocalServer:
    """The API and the storage in one, with a picture at /picture."""
    server.answers_at(TOKEN_PATH, Told(body={"accessToken": "private-token", "expireIn": 7200}))
    leads_to(server, f"{server.url}/picture?Signature=private")
    return server


def leads_to(server: LocalServer, url: str, path: str = "/picture?Signature=private") -> None:
    server.answers_at(DOWNLOAD_PATH, Told(body={"downloadUrl": url}))
    server.answers_at(path, Told(body=PNG, headers={"Content-Type": "image/png"}))


def client(
    server: LocalServer, *, hosts: list[str] | None = None, max_bytes: int = 1_000_000, **more
) -> MediaClient:
    api = OpenApiClient(
        endpoint=server.url,
        client_id="ding1",
        client_secret="private-secret",
        clock=lambda: NOW,
        timeout_s=(60, 60),
    )
    listed = MediaHosts.parse(hosts or [f"127.0.0.1:{server.port}"])
    return MediaClient(api, listed, max_bytes=max_bytes, **{"timeout_s": 60, **more})


def fetch(media: MediaClient, to: Path, kind: str = "picture", **more) -> Path:
    return media.download(CODE, robot_code="ding1", kind=kind, to=to / "1", **more)


def refused(media: MediaClient, to: Path, error: type[MediaError], **more) -> str:
    """Return what is said; nothing private is, and no file is left."""
    with pytest.raises(error) as caught:
        fetch(media, to, **more)
    assert "private" not in str(caught.value)
    assert "private" not in repr(caught.value)
    assert list(to.iterdir()) == []
    return str(caught.value)


def test_a_picture_becomes_a_file_that_nobody_else_reads(storage, tmp_path):
    path = fetch(client(storage), tmp_path)

    assert path.read_bytes() == PNG
    assert path.name == "1.png"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_code_goes_to_the_api_and_no_token_to_the_storage(storage, tmp_path):
    fetch(client(storage), tmp_path)

    [asked] = storage.posts_to(DOWNLOAD_PATH)
    assert asked.body == {"downloadCode": CODE, "robotCode": "ding1"}
    [fetched] = storage.posts_to("/picture?Signature=private")
    assert fetched.method == "GET"
    assert "private-token" not in str(fetched.headers)
    assert fetched.headers["Host"] == f"127.0.0.1:{storage.port}"


def test_a_file_keeps_its_ending(storage, tmp_path):
    storage.answers_at("/picture?Signature=private", Told(body=b"PK.."))

    path = fetch(client(storage), tmp_path, kind="file", name="../../plan.DOCX")

    assert path == tmp_path / "1.docx"


def test_without_a_code_nothing_is_asked(storage, tmp_path):
    with pytest.raises(MediaRefusedError, match="no code"):
        client(storage).download("", robot_code="ding1", kind="file", to=tmp_path / "1")
    assert storage.seen == []


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (Told(400, {"code": "invalidParameter.robotCode.downloadCode"}), MediaRefusedError),
        (Told(403, {"code": "Forbidden.AccessDenied.AccessTokenPermissionDenied"}),
         MediaRefusedError),
        (Told(403, {"code": "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi"}),
         MediaUnavailableError),
        (Told(503, {"code": "system.busy"}), MediaUnavailableError),
        (Told(hangs_up=True), MediaUnavailableError),
        (Told(200, {"x": 1}), MediaUnavailableError),
        (Told(200, {"downloadUrl": None}), MediaUnavailableError),
    ],
)  # fmt: skip
def test_a_code_that_leads_nowhere_is_told_by_whether_it_may_work_later(
    storage, tmp_path, told, error
):
    storage.answers_at(DOWNLOAD_PATH, told)

    refused(client(storage), tmp_path, error)


@pytest.mark.parametrize(
    ("status", "error"),
    [(403, MediaRefusedError), (404, MediaRefusedError), (503, MediaUnavailableError)],
)
def test_a_storage_that_does_not_give_it_out_is_told_too(storage, tmp_path, status, error):
    storage.answers_at("/picture?Signature=private", Told(status, "<Error>private</Error>"))

    assert f"HTTP {status}" in refused(client(storage), tmp_path, error)


@pytest.mark.parametrize("chunked", [False, True])
def test_what_is_too_large_is_not_kept(storage, tmp_path, chunked):
    headers = {"Content-Type": "image/png"}
    told = Told(body=PNG, headers=headers, chunked=chunked)
    storage.answers_at("/picture?Signature=private", told)

    said = refused(client(storage, max_bytes=len(PNG) - 1), tmp_path, MediaTooLargeError)
    assert "MEDIA_MAX_MB" in said
    assert fetch(client(storage, max_bytes=len(PNG)), tmp_path).read_bytes() == PNG


@pytest.mark.parametrize("chunked", [False, True])
def test_what_breaks_off_is_not_kept(storage, tmp_path, chunked):
    headers = {"Content-Type": "image/png"}
    told = Told(body=PNG, headers=headers, chunked=chunked, breaks_off=True)
    storage.answers_at("/picture?Signature=private", told)

    refused(client(storage), tmp_path, MediaUnavailableError)


@pytest.mark.parametrize(
    ("kind", "content_type", "body", "is_fine"),
    [
        ("picture", "image/jpeg; q=1", b"\xff\xd8\xff", True),
        ("picture", "text/html", b"<html>", False),
        ("picture", "video/mp4", b"\x00" * 40, False),
        ("picture", "application/octet-stream", b"\xff\xd8\xff", True),
        ("picture", "application/octet-stream", b"\n <HTML><body>log in", False),
        ("picture", "", b"<?xml version='1.0'?><Error/>", False),
        ("picture", "application/octet-stream", b"", False),
        ("audio", "audio/amr", b"#!AMR\n", True),
        ("audio", "video/mp4", b"\x00\x00\x00 ftypM4A ", True),
        ("audio", "image/png", PNG, False),
        ("video", "video/mp4", b"\x00\x00\x00 ftypisom", True),
        ("file", "application/pdf", b"%PDF-", True),
        ("file", "application/octet-stream", b"", True),
        ("file", "text/html", b"<html>log in", False),
    ],
)
def test_what_comes_is_of_the_kind_that_was_sent(
    storage, tmp_path, kind, content_type, body, is_fine
):
    headers = {"Content-Type": content_type} if content_type else {}
    storage.answers_at("/picture?Signature=private", Told(body=body, headers=headers))

    if is_fine:
        assert fetch(client(storage), tmp_path, kind=kind).read_bytes() == body
    else:
        refused(client(storage), tmp_path, MediaWrongTypeError, kind=kind)


def test_a_page_is_a_file_when_it_is_called_one(storage, tmp_path):
    told = Told(body="<html>", headers={"Content-Type": "text/html"})
    storage.answers_at("/picture?Signature=private", told)

    assert fetch(client(storage), tmp_path, kind="file", name="a.html").suffix == ".html"


def test_it_is_followed_where_it_was_moved_to(storage, tmp_path):
    storage.answers_at("/moved", Told(302, "", {"Location": "/picture?Signature=private"}))
    storage.answers_at(DOWNLOAD_PATH, Told(body={"downloadUrl": f"{storage.url}/moved"}))

    assert fetch(client(storage), tmp_path).read_bytes() == PNG


def test_what_a_redirect_says_itself_is_not_read(storage, tmp_path):
    """It has no end, for all we know, and nobody asked for it."""
    moved = {"Location": "/picture?Signature=private"}
    storage.answers_at("/moved", Told(302, PNG, moved, stalls=True))
    storage.answers_at(DOWNLOAD_PATH, Told(body={"downloadUrl": f"{storage.url}/moved"}))

    assert fetch(client(storage), tmp_path).read_bytes() == PNG


def test_it_is_not_followed_for_ever(storage, tmp_path):
    storage.answers_at("/moved", Told(302, "", {"Location": "/moved"}))
    storage.answers_at(DOWNLOAD_PATH, Told(body={"downloadUrl": f"{storage.url}/moved"}))

    refused(client(storage), tmp_path, MediaUnavailableError)
    assert len(storage.posts_to("/moved")) == 4


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1:{port}/x", "http://localhost/x", "file:///x", "http://[private", "//[x]y/"],
)
def test_it_is_not_followed_to_where_we_do_not_fetch_from(storage, tmp_path, location):
    with running() as other:
        where = location.format(port=other.port)
        storage.answers_at("/moved", Told(302, "", {"Location": where}))
        storage.answers_at(DOWNLOAD_PATH, Told(body={"downloadUrl": f"{storage.url}/moved"}))
        hosts = [f"127.0.0.1:{storage.port}", "localhost"]

        refused(client(storage, hosts=hosts), tmp_path, MediaNotAllowedError)

        assert other.seen == []


def test_an_address_elsewhere_is_never_asked(storage, tmp_path):
    with running() as other:
        leads_to(storage, f"{other.url}/private")

        refused(client(storage), tmp_path, MediaNotAllowedError)

        assert other.seen == []


def test_with_no_time_left_nothing_is_asked(storage, tmp_path):
    refused(client(storage), tmp_path, MediaUnavailableError, within_s=0)

    assert storage.seen == []


def test_a_download_ends_with_its_time(storage, tmp_path):
    """The clock of this test goes on by a second with every look at it."""
    seconds = itertools.count()
    media = client(storage, max_bytes=10**9, timeout_s=4, monotonic=lambda: float(next(seconds)))
    big = Told(body=PNG * 200, headers={"Content-Type": "image/png"})
    storage.answers_at("/picture?Signature=private", big)

    assert "in time" in refused(media, tmp_path, MediaUnavailableError)


def test_a_folder_that_is_gone_is_told(storage, tmp_path):
    with pytest.raises(MediaUnavailableError, match="cannot be written"):
        fetch(client(storage), tmp_path / "gone")


@pytest.fixture
def certified(tmp_path_factory, monkeypatch):
    """A server by TLS whose certificate is for files.example.test, trusted here."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    folder = tmp_path_factory.mktemp("certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "files.example.test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("files.example.test")]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "ca.pem").write_bytes(pem)
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(folder / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    with running(context) as server:
        yield server


@pytest.fixture
def names(monkeypatch):
    """Every name leads here, once; a second look-up leads nowhere."""
    looked_up: list[str] = []
    real = socket.getaddrinfo

    def look_up(host, port, *more, **options):
        if host in ("127.0.0.1", "::1"):
            return real(host, port, *more, **options)
        looked_up.append(host)
        if looked_up.count(host) > 1:
            raise socket.gaierror(socket.EAI_NONAME, "rebound")
        return real("127.0.0.1", port, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return looked_up


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_the_machine_that_was_checked_is_the_one_that_is_asked(
    storage, certified, names, tmp_path, scheme
):
    """A name may lead elsewhere a moment later; its certificate still has to be for the name."""
    there = certified if scheme == "https" else storage
    there.answers_at("/picture", Told(body=PNG, headers={"Content-Type": "image/png"}))
    leads_to(storage, f"{scheme}://files.example.test:{there.port}/picture")
    hosts = [f"files.example.test:{there.port}", "127.0.0.0/8"]

    assert fetch(client(storage, hosts=hosts), tmp_path).read_bytes() == PNG

    assert names == ["files.example.test"]
    [seen] = there.posts_to("/picture")
    assert seen.headers["Host"] == f"files.example.test:{there.port}"


def test_a_certificate_for_another_name_is_refused(storage, certified, names, tmp_path):
    leads_to(storage, f"https://other.example.test:{certified.port}/picture")
    hosts = [f"other.example.test:{certified.port}", "127.0.0.0/8"]

    refused(client(storage, hosts=hosts), tmp_path, MediaUnavailableError)
    assert certified.seen == []


def test_a_machine_that_does_not_answer_is_not_the_only_one(storage, monkeypatch, tmp_path):
    """A name may lead to an address of IPv6, too, where there is no way there."""
    leads_to(storage, f"http://files.example.test:{storage.port}/picture")
    storage.answers_at("/picture", Told(body=PNG, headers={"Content-Type": "image/png"}))
    real = socket.getaddrinfo

    def look_up(host, port, *more, **options):
        if host != "files.example.test":
            return real(host, port, *more, **options)
        return [*real("127.0.0.2", port, *more, **options), *real("127.0.0.1", port)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    hosts = [f"files.example.test:{storage.port}", "127.0.0.0/8"]

    assert fetch(client(storage, hosts=hosts), tmp_path).read_bytes() == PNG


def test_behind_a_proxy_the_proxy_looks_the_name_up(storage, monkeypatch, tmp_path):
    leads_to(storage, "http://files.nowhere.invalid/picture")
    with running() as proxy:
        url = "http://files.nowhere.invalid/picture"
        proxy.answers_at(url, Told(body=PNG, headers={"Content-Type": "image/png"}))
        monkeypatch.setenv("http_proxy", proxy.url)

        path = fetch(client(storage, hosts=["nowhere.invalid"]), tmp_path)

    assert path.read_bytes() == PNG
