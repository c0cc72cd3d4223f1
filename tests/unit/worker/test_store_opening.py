"""Which store a URL means, and what a wrong one is told."""

import subprocess
import sys

import pytest

from worker.store import StoreError, open_store
from worker.store.redis import RedisStore
from worker.store.sql import SqlStore


@pytest.mark.parametrize(
    ("url", "kind", "shown"),
    [
        ("redis://h:7/1", RedisStore, "<RedisStore redis at h:7>"),
        ("redis://h", RedisStore, "<RedisStore redis at h:6379>"),
        ("rediss://:SECRET@h:7", RedisStore, "<RedisStore redis at h:7>"),
        ("sqlite:///folder/x.db", SqlStore, "<SqlStore sqlite in folder/x.db>"),
        ("sqlite:////folder/x.db", SqlStore, "<SqlStore sqlite in /folder/x.db>"),
        ("postgres://u:SECRET@h:7/db", SqlStore, "<SqlStore postgresql at h:7>"),
        ("postgresql://u:SECRET@h/db", SqlStore, "<SqlStore postgresql at h:5432>"),
        ("postgresql+psycopg://u:SECRET@h/db", SqlStore, "<SqlStore postgresql at h:5432>"),
    ],
)
def test_the_scheme_decides_and_the_password_stays_hidden(url, kind, shown):
    store = open_store(url)

    assert isinstance(store, kind)
    assert repr(store) == shown


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mysql://u:SECRET@h/db", "scheme 'mysql'; it must be one of redis, rediss, sqlite"),
        ("amqp://u:SECRET@h//", "scheme 'amqp'"),
        ("sqlite+aiosqlite:///SECRET", "scheme 'sqlite\\+aiosqlite'"),
        ("u:SECRET@h/db", "no scheme"),
        ("SECRET://", "no scheme"),
        ("", "no scheme"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("postgres://u:SECRET@h:port/db", "cannot be read"),
        ("redis://u:SECRET@h:port/0", "cannot be read"),
        ("redis://u:SECRET#@h/0", "cannot be read"),
        ("rediss://:SECRET@h?ssl_cert_reqs=maybe", "ssl_cert_reqs in the store URL is 'maybe'"),
    ],
)
def test_a_wrong_url_is_told_what_is_wrong_and_not_repeated(url, reason):
    with pytest.raises(StoreError, match=reason) as caught:
        open_store(url)

    assert "SECRET" not in f"{caught.value} {caught.value.__cause__}"


def test_opening_a_store_connects_to_nothing_and_makes_no_file(tmp_path):
    open_store(f"sqlite:///{tmp_path}/new/store.db")
    open_store("redis://host.invalid")
    open_store("postgresql://host.invalid/db")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "unwanted"), [("redis://h", "sqlalchemy"), ("sqlite:///x.db", "redis")]
)
def test_the_client_library_of_another_store_is_not_needed(url, unwanted):
    code = (
        "import sys\n"
        f"sys.modules[{unwanted!r}] = None\n"
        "from worker.store import open_store\n"
        f"print(open_store({url!r}))\n"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_client_library_is_named():
    code = (
        "import sys\n"
        "sys.modules['redis'] = None\n"
        "from worker.store import StoreError, open_store\n"
        "try: open_store('redis://u:SECRET@h')\n"
        "except StoreError as error: print(error)\n"
    )

    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert run.stdout == "store redis:// needs redis, which is not installed\n"
