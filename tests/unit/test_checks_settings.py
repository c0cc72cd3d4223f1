"""Settings that can be read and are wrong all the same."""

import pytest

from contract.checks import Status
from contract.settings_checks import check_allowed_users, check_names, check_settings, unreadable
from contract.variables import AGENT_VARIABLES, VARIABLES, misspelled
from listener.settings import ListenerSettings
from worker.settings import WorkerSettings


def test_every_variable_of_both_processes_is_known_and_no_other():
    read = {
        str(name)
        for settings in (ListenerSettings, WorkerSettings)
        for field in settings.model_fields.values()
        for name in getattr(field.validation_alias, "choices", [field.validation_alias])
    }
    assert read == VARIABLES


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DINGTALK_ALOWED_USERS", "DINGTALK_ALLOWED_USERS"),
        ("DINGTALK_CLIENTID", "DINGTALK_CLIENT_ID"),
        ("dingtalk_client_secret", "DINGTALK_CLIENT_SECRET"),
        ("DINGTALK_BROKER", None),
        ("LATE_POLICI", "LATE_POLICY"),
        ("late_policy", "LATE_POLICY"),
        ("AGENT_TIMEOUT", "AGENT_TIMEOUT_S"),
        ("WEBHOOK_HOSTS", "DINGTALK_WEBHOOK_HOSTS"),
        ("BROKER_URI", "BROKER_URL"),
    ],
)
def test_a_name_that_looks_like_one_of_ours_is_noticed(name, meant):
    assert misspelled({name}) == [(name, meant)]


def test_names_of_others_are_left_alone():
    theirs = {
        *("PATH", "HOME", "USER", "TERM", "EDITOR", "BORDER", "SSH_AGENT_PID", "SSH_AUTH_SOCK"),
        *("FLOWER_BASIC_AUTH", "CELERY_RESULT_BACKEND", "MYSQL_URL", "PGDATABASE", "LOGNAME"),
        *("DINGTALK_CONFIG", "PORT", "RESULT_BACKEND", "HTTPS_PROXY", "DYNO", "HOSTNAME"),
        *("REDIS_HOST", "REDIS_PORT", "DATABASE", "WORKERS", "WEB_CONCURRENCY", "LOGLEVEL_ROOT"),
    }
    assert misspelled(theirs | VARIABLES | AGENT_VARIABLES) == []


def test_what_merely_resembles_a_variable_that_is_set_is_left_alone():
    assert misspelled({"STORE_URLS"}) == [("STORE_URLS", "STORE_URL")]
    assert misspelled({"STORE_URLS", "STORE_URL"}) == []


@pytest.fixture
def place(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_typo_in_the_environment_or_in_the_file_is_a_warning_with_what_is_meant(
    place, monkeypatch
):
    monkeypatch.setenv("DINGTALK_ALOWED_USERS", "a")
    (place / ".env").write_text("LATE_POLICI=drop\n")

    first, second = check_settings()

    assert (first.status, second.status) == (Status.WARN, Status.WARN)
    assert first.reason == "DINGTALK_ALOWED_USERS is not read by anything"
    assert first.fix == "did you mean DINGTALK_ALLOWED_USERS?"
    assert "LATE_POLICI" in second.reason


def test_with_nothing_amiss_the_settings_are_fine(place):
    assert [check.status for check in check_settings()] == [Status.OK]


def test_a_broker_that_only_celery_reads_is_said():
    (check,) = check_names({"CELERY_BROKER_URL"})
    assert check.status is Status.WARN
    assert "read by Celery and by no listener" in check.reason
    assert check.fix == "set BROKER_URL instead, which both read"


def test_what_cannot_be_read_comes_with_the_typo_that_may_be_why(place, monkeypatch):
    monkeypatch.setenv("DINGTALK_CLIENTID", "x")

    missing, typo = unreadable(ValueError("DINGTALK_CLIENT_ID: Field required"))

    assert missing.reason == "cannot read settings: DINGTALK_CLIENT_ID: Field required"
    assert typo.fix == "did you mean DINGTALK_CLIENT_ID?"


def test_a_variable_that_a_bots_table_names_is_read(place, monkeypatch):
    monkeypatch.setenv("DINGTALK_SALES_SECRET", "s")
    assert [check.status for check in check_settings()] == [Status.WARN]
    assert [check.status for check in check_settings({"DINGTALK_SALES_SECRET"})] == [Status.OK]


def test_a_file_that_is_no_text_is_said_once(place):
    (place / ".env").write_bytes(b"A=\xff\xfe")
    assert len(unreadable(ValueError(".env: not UTF-8 text"))) == 1


@pytest.mark.parametrize(
    ("allowed", "policy", "status", "words"),
    [
        ((), "flag", Status.FAIL, "EVERYBODY IS DENIED"),
        (("a", "b", "a"), "rescue", Status.OK, "2 people"),
        (("a",), None, Status.OK, "1 person"),
        (("*",), "flag", Status.OK, "everybody"),
        (("*",), "rescue", Status.WARN, "can spend the month's API calls"),
    ],
)
def test_who_is_let_in(allowed, policy, status, words):
    check = check_allowed_users(allowed, late_policy=policy)
    assert check.status is status
    assert words in check.reason
