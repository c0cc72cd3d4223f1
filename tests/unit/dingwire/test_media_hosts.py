"""Where pictures and files may be fetched from."""

import socket
from urllib.parse import urlsplit

import pytest

from dingwire.addresses import PrivateAddressError, address_of, is_public
from dingwire.errors import MediaNotAllowedError
from dingwire.media_hosts import DEFAULT_MEDIA_HOSTS, MediaHosts

STORAGE = "wukong-file-im-zjk.oss-cn-zhangjiakou.aliyuncs.com"
PUBLIC = "203.0.113.9"  # of the documentation; no test speaks to it


def led_to(hosts: MediaHosts, url: str) -> list[str]:
    """Return where a connection for ``url`` would go."""
    hosts.check(url)
    parts = urlsplit(url)
    return hosts.addresses(parts.hostname or "", parts.port or {"https": 443}.get(parts.scheme, 80))


@pytest.fixture
def names(monkeypatch):
    """What names lead to; a look-up of any other is a failed one."""
    known: dict[str, list[str]] = {}

    def look_up(host, port, **_):
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr("dingwire.addresses._is_public", lambda a: str(a) in {PUBLIC, "8.8.8.8"})
    return known


@pytest.mark.parametrize(
    "url",
    [
        f"http://{STORAGE}/ddmedia/x.file?Expires=1&Signature=a%2Bb",
        f"https://{STORAGE}/x",
        f"https://{STORAGE.upper()}/x",
        "https://aliyuncs.com/x",
        "https://down.dingtalk.com:443/x",
    ],
)
def test_storage_of_dingtalk_is_fetched_from(names, url):
    host = url.partition("//")[2].partition("/")[0].partition(":")[0].lower()
    names[host] = ["8.8.8.8", PUBLIC]

    assert led_to(MediaHosts.parse(DEFAULT_MEDIA_HOSTS), url) == ["8.8.8.8", PUBLIC]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/x",
        "//aliyuncs.com/x",
        "ftp://aliyuncs.com/x",
        "file:///etc/passwd",
        "https://aliyuncs.com.example.org/x",
        "https://evilaliyuncs.com/x",
        "https://aliyuncs.com.",
        "https://xn--aliyuncs-9e4c.com/x",
        "https://aliyuncs\u3002com/x",
        "https://aliyuncs.com\\@example.org/x",
        "https://example.org#@aliyuncs.com/x",
        "https://example.org?x=@aliyuncs.com/",
        "https://user@aliyuncs.com/x",
        "https://:@aliyuncs.com/x",
        "https://@aliyuncs.com/x",
        "https://aliyuncs.com:8080/x",
        "https://aliyuncs.com:0x1bb/x",
        "https://aliyuncs.com:0/x",
        "http://127.0.0.1/x",
        "http://127.0.0.1:8766/x",
        "http://[::1]:8765/x",
        "http://localhost:8765/x",
        "http://2130706433:8765/x",
        "http://0x7f.1/x",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/x",
        "https://aliyuncs.com /x",
        "https://aliyuncs.com/\r\nX-Evil: 1",
    ],
)
def test_nothing_else_is(names, url):
    for host in ("aliyuncs.com", "aliyuncs.com.", "example.org", "evilaliyuncs.com"):
        names[host] = ["8.8.8.8"]
    hosts = MediaHosts.parse([*DEFAULT_MEDIA_HOSTS, "127.0.0.1:8765"])

    if url == "https://aliyuncs.com.":  # the same name, written to its end
        assert led_to(hosts, url) == ["8.8.8.8"]
        return
    with pytest.raises(MediaNotAllowedError) as error:
        led_to(hosts, url)
    assert "Evil" not in str(error.value)
    assert "meta-data" not in str(error.value)


@pytest.mark.parametrize(
    "addresses",
    [["10.0.0.1"], ["127.0.0.1"], ["169.254.169.254"], ["8.8.8.8", "192.168.0.1"], ["198.18.0.1"]],
)
def test_a_name_that_leads_to_a_private_address_is_refused(names, addresses):
    names[STORAGE] = addresses

    with pytest.raises(MediaNotAllowedError, match="not public"):
        led_to(MediaHosts.parse(DEFAULT_MEDIA_HOSTS), f"http://{STORAGE}/x")


def test_a_private_network_can_be_listed():
    """A proxy on the way out may make up addresses for every name."""
    hosts = MediaHosts.parse(["localhost", "127.0.0.0/8", "::1/128"])

    assert set(led_to(hosts, "http://localhost/x")) <= {"127.0.0.1", "::1"}


def test_this_machine_is_refused_by_its_real_name():
    with pytest.raises(MediaNotAllowedError, match="not public"):
        led_to(MediaHosts.parse(["localhost"]), "http://localhost/x")


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:8765", "[::1]:8765"])
def test_a_simulator_is_fetched_from_when_it_is_listed_with_its_port(host):
    found = led_to(MediaHosts.parse([host]), f"http://{host}/storage/x")

    assert set(found) <= {"127.0.0.1", "::1"}


def test_an_unknown_name_may_be_known_later(names):
    with pytest.raises(OSError):  # noqa: PT011, any of them
        led_to(MediaHosts.parse(DEFAULT_MEDIA_HOSTS), f"http://{STORAGE}/x")


@pytest.mark.parametrize(
    "entry", ["", "https://aliyuncs.com", "a b", "host/path", "u@host", "1.2.3/8"]
)
def test_an_entry_that_is_no_host_is_named(entry):
    with pytest.raises(ValueError, match="is not a"):
        MediaHosts.parse(["dingtalk.com", entry])


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2606:4700::1111", True), ("10.0.0.1", False), ("172.16.0.1", False),
        ("192.168.1.1", False), ("127.0.0.1", False), ("0.0.0.0", False), ("169.254.0.1", False),
        ("100.64.0.1", False), ("198.18.0.1", False), ("224.0.0.1", False), ("240.0.0.1", False),
        ("255.255.255.255", False), ("::1", False), ("::", False), ("fe80::1%eth0", False),
        ("fc00::1", False), ("::ffff:127.0.0.1", False), ("::ffff:8.8.8.8", True),
        ("64:ff9b::7f00:1", False), ("64:ff9b::808:808", True), ("2002:7f00:1::", False),
        ("ff02::1", False), ("fec0::1", False), ("::7f00:1", False),
    ],
)  # fmt: skip
def test_an_address_is_public_or_not(address, public):
    assert is_public(address) is public


def test_a_name_that_no_resolver_takes_has_no_address():
    with pytest.raises(OSError):  # noqa: PT011, any of them
        address_of("a" * 300 + ".example", 80)


def test_the_error_shows_no_address():
    with pytest.raises(PrivateAddressError) as error:
        address_of("127.0.0.1", 80)
    assert "127" not in str(error.value)
