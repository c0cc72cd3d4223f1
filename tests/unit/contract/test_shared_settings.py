from pathlib import Path
from typing import Self

import pytest
from cryptography.fernet import Fernet
from pydantic import Field, model_validator

from contract.settings import EMBEDDED_BROKER, CommaSeparated, Settings, SettingsError, is_local_url

BROKER_VARIABLES = ("BROKER_URL", "CLOUDAMQP_URL", "REDIS_TLS_URL", "REDIS_URL")


class WithUsers(Settings):
    allowed_users: CommaSeparated = Field(validation_alias="DINGTALK_ALLOWED_USERS", default=())


@pytest.fixture(autouse=True)
def _clean(monkeypatch, tmp_path):
    """No variable and no ``.env`` of the person who runs the tests."""
    monkeypatch.chdir(tmp_path)
    names = (*BROKER_VARIABLES, "DINGTALK_CLIENT_ID", "DINGTALK_CLIENT_SECRET", "DINGTALK_CONFIG",
             "DINGTALK_OPENAPI_ENDPOINT", "DINGTALK_ALLOWED_USERS", "DATA_DIR", "LOG_FORMAT",
             "LOG_LEVEL")  # fmt: skip
    for name in names:
        monkeypatch.delenv(name, raising=False)


def write_toml(body: str, monkeypatch, name: str = "bot.toml") -> None:
    Path(name).write_text(body, encoding="utf-8")
    monkeypatch.setenv("DINGTALK_CONFIG", name)


def test_without_anything_set_everything_stays_on_this_machine():
    settings = Settings.load()
    assert settings.broker_url == EMBEDDED_BROKER
    assert settings.is_embedded
    assert settings.client_id is None
    assert settings.data_dir == Path(".data")


def test_the_environment_wins_over_env_file_and_the_env_file_over_toml(monkeypatch):
    write_toml(
        "[channels_config.dingtalk]\n"
        'client_id = "toml"\nclient_secret = "toml-secret"\nlog_level = "ERROR"\n',
        monkeypatch,
    )
    Path(".env").write_text("DINGTALK_CLIENT_ID=file\nLOG_LEVEL=WARNING\n")
    monkeypatch.setenv("DINGTALK_CLIENT_ID", "environment")

    settings = Settings.load()

    assert settings.client_id == "environment"
    assert settings.log_level == "WARNING"
    assert settings.client_secret is not None
    assert settings.client_secret.get_secret_value() == "toml-secret"


def test_an_empty_variable_is_an_unset_one(monkeypatch):
    Path(".env").write_text("DINGTALK_CLIENT_ID=file\n")
    monkeypatch.setenv("DINGTALK_CLIENT_ID", "")
    assert Settings.load().client_id == "file"


def test_the_env_file_may_name_the_toml_file():
    Path("bot.toml").write_text('[channels_config.dingtalk]\nclient_id = "toml"\n')
    Path(".env").write_text("DINGTALK_CONFIG=bot.toml\n")
    assert Settings.load().client_id == "toml"


def test_tables_of_others_and_keys_of_the_other_process_are_ignored(monkeypatch):
    write_toml(
        '[channels_config.other]\nx = 1\n[channels_config.dingtalk]\nagent = "a:b"\n', monkeypatch
    )
    assert Settings.load().client_id is None


@pytest.mark.parametrize("key", ["alowed_users", "addon_store_url", "DINGTALK_CLIENT_ID"])
def test_a_key_that_nobody_reads_is_named(monkeypatch, key):
    """Else a slip of the pen in allowed_users denies everybody without a word."""
    write_toml(f'[channels_config.dingtalk]\nclient_id = "x"\n{key} = "hunter2"\n', monkeypatch)
    with pytest.raises(SettingsError, match=rf"\ADINGTALK_CONFIG: bot.toml: unknown key {key}\Z"):
        Settings.load()


def test_a_table_that_is_none_is_named(monkeypatch):
    write_toml("[channels_config]\ndingtalk = 1\n", monkeypatch)
    with pytest.raises(SettingsError, match=r"channels_config\.dingtalk is not a table"):
        Settings.load()


@pytest.mark.parametrize(
    ("body", "reason"), [("not toml", "not a TOML file"), (None, "No such file")]
)
def test_a_toml_file_that_cannot_be_read_is_named(monkeypatch, body, reason):
    monkeypatch.setenv("DINGTALK_CONFIG", "bot.toml")
    if body is not None:
        Path("bot.toml").write_text(body)
    with pytest.raises(SettingsError, match=f"DINGTALK_CONFIG: bot.toml: {reason}"):
        Settings.load()


def test_every_faulty_variable_is_named_at_once_and_no_value_is_shown(monkeypatch):
    monkeypatch.setenv("REDIS_URL", "http://user:hunter2@queue.example")
    monkeypatch.setenv("LOG_LEVEL", "hunter2")
    monkeypatch.setenv("DINGTALK_OPENAPI_ENDPOINT", "hunter2")
    with pytest.raises(SettingsError) as e:
        Settings.load()
    named = {line.partition(":")[0] for line in str(e.value).splitlines()}
    assert {"LOG_LEVEL", "DINGTALK_OPENAPI_ENDPOINT"} < named
    assert len(named) == 3
    assert "hunter2" not in str(e.value)
    assert e.value.__cause__ is None


def test_what_is_wrong_with_several_variables_together_is_said_in_its_own_words():
    class Together(Settings):
        @model_validator(mode="after")
        def _refuse(self) -> Self:
            raise ValueError("STORE_URL: needs BROKER_URL")

    with pytest.raises(SettingsError, match=r"^STORE_URL: needs BROKER_URL$"):
        Together.load()


def test_an_env_file_that_is_not_text_is_named():
    Path(".env").write_bytes(b"LOG_LEVEL=\xff\xfe\n")
    with pytest.raises(SettingsError, match=r"\.env: not UTF-8 text"):
        Settings.load()


UNREADABLE = [
    "redis://user:hunter2/x@127.0.0.1:6379/0",
    "rediss://:hunter2#x@127.0.0.1:6379/0",
    "redis://:12345/hunter2@127.0.0.1/0",
    "amqp://user:hunter2@127.0.0.1:99999//",
    "amqps://[hunter2",
]


@pytest.mark.parametrize("url", UNREADABLE)
def test_a_broker_address_that_cannot_be_read_is_refused_without_its_password(monkeypatch, url):
    monkeypatch.setenv("BROKER_URL", url)
    with pytest.raises(SettingsError) as e:
        Settings.load()
    assert str(e.value) == "BROKER_URL: cannot be read; is its password percent-encoded?"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://a:6379/0;redis://b:6379/0", "must be one address, not a list"),
        ("redis://:hunter2;x@h/0", "must be one address, not a list"),
        ("rediss://h?ssl_cert_reqs=none&credential_provider=x.Y", "has options that are not known"),
    ],
)
def test_an_address_of_redis_that_the_listener_cannot_use_is_refused(monkeypatch, url, why):
    """Else it and the workers would not speak to the same Redis, or not as the same user."""
    monkeypatch.setenv("BROKER_URL", url)
    with pytest.raises(SettingsError, match=f"BROKER_URL: {why}") as e:
        Settings.load()
    assert "hunter2" not in str(e.value)


@pytest.mark.parametrize(
    "url", ["redis://:hunter2%2Fx@h:6379/0", "amqp://u:p@h/vhost@x", "redis://h", "redis:///0"]
)
def test_a_broker_address_that_can_be_read_is_taken(monkeypatch, url):
    monkeypatch.setenv("BROKER_URL", url)
    assert Settings.load().broker_url == url


@pytest.mark.parametrize("folder", ["/proc/nope", "/proc/nope/deeper", "a-file/data"])
def test_a_folder_that_cannot_hold_the_broker_is_refused(monkeypatch, folder):
    Path("a-file").write_text("")
    monkeypatch.setenv("DATA_DIR", folder)
    with pytest.raises(SettingsError, match=r"\ADATA_DIR: cannot be written to: [A-Z].*\Z"):
        Settings.load()


def test_a_remote_broker_needs_no_folder(monkeypatch):
    monkeypatch.setenv("DATA_DIR", "/proc/nope")
    monkeypatch.setenv("BROKER_URL", "redis://h")
    assert Settings.load().data_dir == Path("/proc/nope")


def test_reading_the_settings_leaves_nothing_on_the_disk():
    Settings.load()
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("first", range(len(BROKER_VARIABLES)))
def test_the_broker_is_the_first_of_the_variables_that_is_set(monkeypatch, first):
    for name in BROKER_VARIABLES[first:]:
        monkeypatch.setenv(name, f"redis://{name.lower().replace('_', '-')}.example")
    expected = BROKER_VARIABLES[first].lower().replace("_", "-")
    assert Settings.load().broker_url == f"redis://{expected}.example"


def test_a_secret_is_hidden_from_repr(monkeypatch):
    monkeypatch.setenv("DINGTALK_CLIENT_SECRET", "hunter2")
    assert "hunter2" not in repr(Settings.load())


@pytest.mark.parametrize(
    ("value", "users"),
    [("a, b ,,c", ("a", "b", "c")), ("*", ("*",)), (" , ", ()), ("user1", ("user1",))],
)
def test_a_list_is_comma_separated_in_the_environment(monkeypatch, value, users):
    monkeypatch.setenv("DINGTALK_ALLOWED_USERS", value)
    assert WithUsers.load().allowed_users == users


def test_a_list_is_an_array_in_toml(monkeypatch):
    write_toml('[channels_config.dingtalk]\nallowed_users = ["a", "b"]\n', monkeypatch)
    assert WithUsers.load().allowed_users == ("a", "b")


def test_an_endpoint_loses_its_last_slash(monkeypatch):
    monkeypatch.setenv("DINGTALK_OPENAPI_ENDPOINT", "http://127.0.0.1:8765/")
    assert Settings.load().openapi_endpoint == "http://127.0.0.1:8765"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///x.db", True),
        (EMBEDDED_BROKER, True),
        ("redis://localhost", False),
        ("postgresql://localhost/x", False),
    ],
)
def test_a_local_url_is_one_that_no_other_machine_reaches(url, expected):
    assert is_local_url(url) is expected


def test_a_key_that_cannot_seal_is_named_by_its_place_and_never_shown(monkeypatch):
    good = Fernet.generate_key().decode()
    monkeypatch.setenv("ENVELOPE_KEY", f"{good},hunter2")

    with pytest.raises(SettingsError, match=r"^ENVELOPE_KEY: key 2 is not a Fernet key") as e:
        Settings.load()
    assert "hunter2" not in str(e.value)
    assert good not in str(e.value)


def test_envelopes_are_sealed_with_the_key_that_is_set(monkeypatch):
    assert not Settings.load().sealer.is_sealing

    monkeypatch.setenv("ENVELOPE_KEY", Fernet.generate_key().decode())
    settings = Settings.load()

    assert settings.sealer.unseal_text(settings.sealer.seal_text("hello")) == "hello"
    assert "hello" not in settings.sealer.seal_text("hello")
