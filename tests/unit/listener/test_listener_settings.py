"""What the listener reads, and what it says when it cannot."""

import pytest

from contract.settings import SettingsError
from listener.settings import ListenerSettings

CREDENTIALS = {"DINGTALK_CLIENT_ID": "ding1", "DINGTALK_CLIENT_SECRET": "s3cret"}


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """An environment without settings; call it to add some."""
    monkeypatch.chdir(tmp_path)
    for field in ListenerSettings.model_fields.values():
        alias = field.validation_alias
        for name in getattr(alias, "choices", [alias]):
            monkeypatch.delenv(str(name), raising=False)
    monkeypatch.delenv("DINGTALK_CONFIG", raising=False)

    def add(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return add


def test_missing_credentials_are_both_named(environment):
    with pytest.raises(SettingsError) as raised:
        ListenerSettings.load()

    assert str(raised.value).splitlines() == [
        "DINGTALK_CLIENT_ID: Field required",
        "DINGTALK_CLIENT_SECRET: Field required",
    ]


def test_every_faulty_variable_is_named_and_no_value_shown(environment):
    environment(
        **CREDENTIALS, REPLY_WITHIN_S="hunter2", BROKER_URL="hunter2://", LOG_LEVEL="hunter2"
    )

    with pytest.raises(SettingsError) as raised:
        ListenerSettings.load()

    said = str(raised.value)
    assert {line.split(":")[0] for line in said.splitlines()} == {
        "REPLY_WITHIN_S",
        "BROKER_URL",
        "LOG_LEVEL",
    }
    assert "hunter2" not in said


@pytest.mark.parametrize("promise", ["0", "-1", "inf", "nan"])
def test_a_promise_is_a_positive_number_of_seconds(environment, promise):
    environment(**CREDENTIALS, REPLY_WITHIN_S=promise)

    with pytest.raises(SettingsError, match="REPLY_WITHIN_S: "):
        ListenerSettings.load()


def test_one_connection_until_dingtalk_ends_it_unless_said(environment):
    environment(**CREDENTIALS)

    settings = ListenerSettings.load()

    assert (settings.connections, settings.connection_ttl_s) == (1, None)
    assert settings.silence_limit_s == 60


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CONNECTIONS", "0"),
        ("CONNECTIONS", "9"),
        ("CONNECTION_TTL_S", "0"),
        ("CONNECTION_TTL_S", "inf"),
        ("SILENCE_LIMIT_S", "0"),
        ("SILENCE_LIMIT_S", "nan"),
    ],
)
def test_connections_that_could_not_work_are_refused(environment, variable, value):
    environment(**CREDENTIALS, **{variable: value})

    with pytest.raises(SettingsError, match=f"^{variable}: "):
        ListenerSettings.load()


def test_nobody_is_let_in_unless_said(environment):
    environment(**CREDENTIALS)

    assert ListenerSettings.load().allowed_users == ()


def test_spaces_pasted_along_do_no_harm(environment):
    environment(
        DINGTALK_CLIENT_ID=" ding1 ",
        DINGTALK_CLIENT_SECRET=" s3cret\n",
        DINGTALK_ALLOWED_USERS=" alice, bob ,",
    )

    settings = ListenerSettings.load()

    assert settings.client_id == "ding1"
    assert settings.client_secret.get_secret_value() == "s3cret"
    assert settings.allowed_users == ("alice", "bob")


def test_the_toml_table_is_read_and_the_environment_wins(environment, tmp_path):
    (tmp_path / "config.toml").write_text(
        "[channels_config.dingtalk]\n"
        'client_id = "from-toml"\nclient_secret = "s3cret"\nallowed_users = ["alice", "bob"]\n'
    )
    environment(DINGTALK_CONFIG="config.toml", DINGTALK_CLIENT_ID="from-environment")

    settings = ListenerSettings.load()

    assert settings.client_id == "from-environment"
    assert settings.allowed_users == ("alice", "bob")


def test_the_secret_is_not_in_the_repr(environment):
    environment(**CREDENTIALS)

    assert "s3cret" not in repr(ListenerSettings.load())


GROUPS = """
[channels_config.dingtalk]
client_id = "ding1"
client_secret = "s3cret"
allowed_users = ["alice"]
allowed_groups = ["cid1"]

[channels_config.dingtalk.groups."cid2=="]
allowed_users = ["bob", "*"]
"""


def test_a_group_may_have_a_list_of_its_own(environment, tmp_path):
    (tmp_path / "bot.toml").write_text(GROUPS)
    environment(DINGTALK_CONFIG="bot.toml")

    settings = ListenerSettings.load()
    assert settings.allowed_groups == ("cid1",)
    assert {name: group.allowed_users for name, group in settings.groups.items()} == {
        "cid2==": ("bob", "*")
    }


def test_who_is_let_in_only_in_a_group_is_let_in(environment):
    environment(**CREDENTIALS, DINGTALK_GROUPS='{"cid2": {"allowed_users": "*, bob"}}')

    let_in = ListenerSettings.load().let_in
    assert len(let_in) == 2
    assert "bob" in let_in
    assert "*" not in let_in


def test_the_lists_of_groups_are_json_in_the_environment(environment):
    environment(**CREDENTIALS, DINGTALK_GROUPS='{"cid2": {"allowed_users": "bob, carol"}}')
    assert ListenerSettings.load().groups["cid2"].allowed_users == ("bob", "carol")


@pytest.mark.parametrize(
    ("groups", "error"),
    [
        ("hunter2", "not JSON"),
        ('["hunter2"]', "must be a table for each group"),
        ('{"cid2": "hunter2"}', "must be a table for each group"),
        ('{"cid2": {"allowed": ["hunter2"]}}', "unknown key in a group's table: allowed"),
        ('{"cid2": {"allowed_users": 7}}', "valid tuple"),
    ],
)
def test_a_list_of_groups_that_cannot_be_read_is_refused(environment, groups, error):
    environment(**CREDENTIALS, DINGTALK_GROUPS=groups)

    with pytest.raises(SettingsError, match=f"^DINGTALK_GROUPS: .*{error}") as raised:
        ListenerSettings.load()
    assert "hunter2" not in str(raised.value)
