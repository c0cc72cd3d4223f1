"""Several bots in one setup: who they are, what is their own, and what is refused."""

import json
from pathlib import Path

import pytest

from contract.bots import BOT_KEYS
from contract.settings import SettingsError
from listener.settings import ListenerSettings
from worker.settings import WorkerSettings

TOML = """\
[channels_config.dingtalk]
reply_within_s = 30
allowed_users = ["everyone's boss"]

[[channels_config.dingtalk.bots]]
name = "sales"
client_id = " dingsales "
client_secret = "hunter2-sales"
agent = "json:dumps"
allowed_users = ["alice", "bob"]

[[channels_config.dingtalk.bots]]
client_id = "dinghelp"
client_secret_env = "HELP_SECRET"
robot_code = "robothelp"
agent_timeout_s = 7
"""


@pytest.fixture(autouse=True)
def _clean(monkeypatch, tmp_path):
    """No variable of the person who runs the tests."""
    monkeypatch.chdir(tmp_path)
    for cls in (ListenerSettings, WorkerSettings):
        for field in cls.model_fields.values():
            alias = field.validation_alias
            for name in getattr(alias, "choices", [alias]):
                monkeypatch.delenv(str(name), raising=False)
    monkeypatch.setenv("HELP_SECRET", "hunter2-help")


@pytest.fixture
def toml(monkeypatch):
    """Write the file that ``DINGTALK_CONFIG`` names."""

    def write(text: str = TOML) -> None:
        Path("bots.toml").write_text(text, encoding="utf-8")
        monkeypatch.setenv("DINGTALK_CONFIG", "bots.toml")

    return write


def secret_of(settings):
    return settings.client_secret.get_secret_value()


def refused(cls=ListenerSettings, **values):
    with pytest.raises(SettingsError) as raised:
        cls.load(**values)
    assert "hunter2" not in str(raised.value)
    return str(raised.value).splitlines()


def test_without_tables_there_is_the_bot_of_the_variables_alone(monkeypatch):
    monkeypatch.setenv("DINGTALK_CLIENT_ID", "ding1")
    monkeypatch.setenv("DINGTALK_CLIENT_SECRET", "hunter2")
    for cls in (ListenerSettings, WorkerSettings):
        (bot,) = cls.load().of_bots
        assert (bot.client_id, bot.label, bot.robot) == ("ding1", "ding1", "ding1")


def test_a_worker_need_not_know_who_its_bot_is():
    (bot,) = WorkerSettings.load().of_bots
    assert (bot.client_id, bot.label) == (None, "")


def test_each_table_is_a_bot_with_what_is_its_own(toml):
    toml()

    sales, support = ListenerSettings.load().of_bots

    assert (sales.client_id, secret_of(sales)) == ("dingsales", "hunter2-sales")
    assert (sales.label, sales.robot) == ("sales", "dingsales")
    assert sales.allowed_users == ("alice", "bob")
    assert (support.client_id, secret_of(support)) == ("dinghelp", "hunter2-help")
    assert (support.label, support.robot) == ("dinghelp", "robothelp")
    assert support.allowed_users == ("everyone's boss",), "what is not its own is the process's"
    assert sales.reply_within_s == support.reply_within_s == 30


def test_a_process_takes_what_it_reads_of_a_table(toml):
    toml()

    sales, support = WorkerSettings.load().of_bots

    assert (sales.agent, support.agent) == ("json:dumps", "worker.agents.echo:agent")
    assert (sales.agent_timeout_s, support.agent_timeout_s) == (300, 7)


def test_the_bot_of_the_variables_comes_first_and_no_table_overrides_it(toml, monkeypatch):
    toml()
    monkeypatch.setenv("DINGTALK_CLIENT_ID", "ding1")
    monkeypatch.setenv("DINGTALK_CLIENT_SECRET", "hunter2")
    monkeypatch.setenv("DINGTALK_BOT_NAME", "first")
    monkeypatch.setenv("AGENT_TIMEOUT_S", "9")

    bots = WorkerSettings.load().of_bots

    assert [bot.label for bot in bots] == ["first", "sales", "dinghelp"]
    assert [bot.agent_timeout_s for bot in bots] == [9, 9, 7]


def test_the_lists_of_groups_hold_for_every_bot_without_its_own(monkeypatch):
    own = {"cid2": {"allowed_users": ["bob"]}}
    monkeypatch.setenv("DINGTALK_GROUPS", json.dumps({"cid1": {"allowed_users": ["alice"]}}))
    tables = [
        {"client_id": "ding1", "client_secret": "hunter1"},
        {"client_id": "ding2", "client_secret": "hunter2", "groups": own},
    ]
    monkeypatch.setenv("DINGTALK_BOTS", json.dumps(tables))

    first, second = ListenerSettings.load().of_bots

    assert {name: group.allowed_users for name, group in first.groups.items()} == {
        "cid1": ("alice",)
    }
    assert {name: group.allowed_users for name, group in second.groups.items()} == {
        "cid2": ("bob",)
    }


def test_tables_may_stand_in_a_variable_where_there_is_no_file(monkeypatch):
    tables = [{"client_id": "dinghelp", "client_secret_env": "HELP_SECRET", "allowed_users": "a,b"}]
    monkeypatch.setenv("DINGTALK_BOTS", json.dumps(tables))

    (bot,) = ListenerSettings.load().of_bots

    assert (bot.client_id, secret_of(bot)) == ("dinghelp", "hunter2-help")
    assert bot.allowed_users == ("a", "b")


def test_a_secret_may_be_named_by_a_variable_of_the_env_file(toml, monkeypatch):
    monkeypatch.delenv("HELP_SECRET")
    Path(".env").write_text("HELP_SECRET=hunter2-file\n", encoding="utf-8")
    toml()
    assert secret_of(ListenerSettings.load().of_bots[1]) == "hunter2-file"


def test_a_table_that_is_no_bot_says_what_it_lacks(toml):
    toml(
        "[[channels_config.dingtalk.bots]]\n"
        'name = "sales"\nclient_id = "dingsales"\n'
        "[[channels_config.dingtalk.bots]]\n"
        'client_secret = "hunter2"\n'
    )
    assert refused() == ["DINGTALK_BOTS: bot 2: client_id: Field required"]


FAULTY = {
    "no secret": (
        'client_id = "dinga"',
        "client_secret: Field required, or client_secret_env, a variable that holds it",
    ),
    "a variable that is not set": (
        'client_id = "dinga"\nclient_secret_env = "NO_SUCH"',
        "client_secret_env: the variable NO_SUCH is not set",
    ),
    "two secrets": (
        'client_id = "dinga"\nclient_secret = "hunter2"\nclient_secret_env = "HELP_SECRET"',
        "client_secret_env: give this or client_secret, not both",
    ),
    "an unknown key": (
        'client_id = "dinga"\nclient_secret = "hunter2"\nalowed_users = ["hunter2"]',
        "alowed_users: unknown key",
    ),
    "a setting of the process": (
        'client_id = "dinga"\nclient_secret = "hunter2"\nbroker_url = "redis://hunter2"',
        "broker_url: unknown key",
    ),
}


@pytest.mark.parametrize("case", FAULTY)
@pytest.mark.parametrize("cls", [ListenerSettings, WorkerSettings])
def test_a_faulty_table_is_named_by_its_bot_and_key_without_values(toml, cls, case):
    body, fault = FAULTY[case]
    toml(f"[[channels_config.dingtalk.bots]]\n{body}\n")
    assert refused(cls) == [f"DINGTALK_BOTS: bot 1 (dinga): {fault}"]


def test_a_value_that_a_setting_refuses_is_refused_by_its_key(toml):
    toml(TOML.replace("agent_timeout_s = 7", "agent_timeout_s = 0"))
    (line,) = refused(WorkerSettings)
    assert line.startswith("DINGTALK_BOTS: bot 2 (dinghelp): agent_timeout_s: ")


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ('"dinghelp"', '"dingsales"', "two bots have the client_id dingsales"),
        ('"robothelp"', '"dingsales"', "two bots have the robot_code dingsales"),
        ('robot_code = "robothelp"', 'name = "sales"', "two bots have the name sales"),
    ],
)
def test_bots_that_could_be_taken_for_one_another_are_refused(toml, was, becomes, said):
    toml(TOML.replace(was, becomes))
    assert refused() == [f"DINGTALK_BOTS: {said}"]


def test_the_bot_of_the_variables_has_no_table_as_well(toml, monkeypatch):
    toml()
    monkeypatch.setenv("DINGTALK_CLIENT_ID", "dinghelp")
    monkeypatch.setenv("DINGTALK_CLIENT_SECRET", "hunter2")
    assert refused() == ["DINGTALK_BOTS: two bots have the client_id dinghelp"]


def test_half_of_the_first_bot_is_no_bot(toml, monkeypatch):
    toml()
    monkeypatch.setenv("DINGTALK_CLIENT_ID", "ding1")
    assert refused() == ["DINGTALK_CLIENT_SECRET: Field required"]
    monkeypatch.delenv("DINGTALK_CLIENT_ID")
    monkeypatch.setenv("DINGTALK_CLIENT_SECRET", "hunter2")
    (line,) = refused()
    assert line == "DINGTALK_CLIENT_SECRET: belongs to DINGTALK_CLIENT_ID, which is not set"


@pytest.mark.parametrize(
    "value", ["hunter2", '{"client_id": "hunter2"}', '["hunter2"]', "[" * 100_000]
)
def test_a_variable_that_holds_no_tables_is_refused(monkeypatch, value):
    monkeypatch.setenv("DINGTALK_BOTS", value)
    (line,) = refused()
    assert line.startswith("DINGTALK_BOTS: ")


def test_the_variables_that_hold_secrets_are_known(toml):
    toml()
    assert ListenerSettings.load().secret_variables == {"HELP_SECRET"}


def test_every_key_of_a_table_is_a_setting_of_one_of_the_processes():
    assert ListenerSettings.model_fields.keys() | WorkerSettings.model_fields.keys() >= BOT_KEYS


def test_no_secret_of_a_bot_is_in_a_repr(toml):
    toml()
    for cls in (ListenerSettings, WorkerSettings):
        settings = cls.load()
        assert "hunter2" not in repr((settings, settings.bots, settings.of_bots))
