"""Which bot's agent, API and settings a message gets."""

from typing import Any, cast

import pytest

from dingwire.openapi import OpenApiClient
from tests.unit.dingwire.local_server import Told, running
from tests.unit.worker.answering_parts import envelope
from tests.unit.worker.shared_parts import AwayStore, opened
from worker.agents.base import AgentLoadError
from worker.agents.pieces import OnPiece
from worker.bots import Bots, UnknownBotError
from worker.sending.budget import ApiBudgetUsedUpError
from worker.settings import WorkerSettings
from worker.store import Store
from worker.wiring import openapi_of
from worker.words import LATE

SALES = {"client_id": "dingsales", "client_secret": "s", "agent": "json:dumps"}
SUPPORT = {"client_id": "dinghelp", "client_secret": "s", "robot_code": "robothelp"}


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("DINGTALK_CLIENT_ID", "DINGTALK_CLIENT_SECRET", "DINGTALK_CONFIG", "AGENT"):
        monkeypatch.delenv(name, raising=False)


class Runner:
    reads: frozenset[str] = frozenset()
    history_turns = 0
    history_tokens = None

    def __init__(self, agent: Any, settings: Any) -> None:
        self.agent, self.settings, self.is_cancelled = agent, settings, False

    def run(self, message: Any, *, context: Any, limit_s: float, on_piece: OnPiece) -> str | None:
        return None

    def cancel_all(self) -> None:
        self.is_cancelled = True


def api(settings: WorkerSettings) -> OpenApiClient | None:
    return openapi_of(settings, cast(Store, AwayStore()))


def bots_of(*tables: dict[str, Any], **values: Any) -> Bots:
    settings = WorkerSettings.load(bots=tables, **values)
    return Bots.build(settings, runner=Runner, openapi=api)


def label(bots: Bots, **fields: Any) -> str:
    return bots.of(envelope(**fields)).settings.label


def test_a_message_is_for_the_bot_whose_app_it_came_by():
    bots = bots_of(SALES, SUPPORT)
    assert label(bots, bot="robothelp", client_id="dinghelp") == "dinghelp"
    assert label(bots, bot="any other", client_id="dingsales") == "dingsales"


def test_a_message_of_an_earlier_release_is_known_by_its_robot():
    bots = bots_of(SALES, SUPPORT, client_id="ding1", client_secret="s")
    assert label(bots, bot="robothelp") == "dinghelp"
    assert label(bots, bot="dingsales") == "dingsales"
    assert label(bots, bot="a robot code nobody told us") == "ding1"


def test_the_only_bot_of_the_tables_has_what_does_not_say_whose_it_is():
    assert label(bots_of(SALES), bot="robot1") == "dingsales"


@pytest.mark.parametrize(
    ("fields", "named"),
    [({"client_id": "dingother"}, "dingother"), ({"bot": "robotother"}, "robotother")],
)
def test_a_bot_that_is_nobodys_is_named(fields, named):
    bots = bots_of(SALES, SUPPORT)
    with pytest.raises(UnknownBotError, match=f"^no bot {named} in this worker's settings$"):
        bots.of(envelope(**fields))
    assert bots.openapi_of(envelope(**fields)) is None


def test_a_worker_without_credentials_answers_for_whatever_bot_writes():
    bots = bots_of()
    assert label(bots, client_id="dingother") == ""
    assert bots.openapi_of(envelope(client_id="dingother")) is None


def test_a_bot_of_another_app_is_not_answered_in_the_name_of_ours():
    bots = bots_of(client_id="ding1", client_secret="s")
    with pytest.raises(UnknownBotError):
        bots.of(envelope(client_id="dingother"))


def test_each_bot_has_its_own_api_and_bots_of_one_agent_share_its_runner():
    bots = bots_of(SALES, SUPPORT, client_id="ding1", client_secret="s")
    first, sales, support = (
        bots.of(envelope(client_id=name)) for name in ("ding1", "dingsales", "dinghelp")
    )
    assert len({id(each.openapi) for each in (first, sales, support)}) == 3
    assert first.runner is support.runner
    assert sales.runner is not first.runner

    bots.cancel_all()
    assert all(each.runner.is_cancelled for each in (first, sales))  # type: ignore[attr-defined]


def test_every_agent_that_cannot_be_loaded_is_named_with_its_bot():
    tables = (SALES | {"agent": "json:nope"}, SUPPORT | {"agent": "nowhere:agent"})
    with pytest.raises(AgentLoadError) as raised:
        bots_of(*tables, client_id="ding1", client_secret="s")
    first, second = str(raised.value).splitlines()
    assert first.startswith("bot dingsales: AGENT='json:nope'")
    assert second.startswith("bot dinghelp: AGENT='nowhere:agent'")


def test_each_bot_speaks_its_language():
    bots = bots_of(SALES | {"bot_language": "en"}, SUPPORT, bot_language="zh")
    spoken = [bots.language_of(envelope(client_id=name)) for name in ("dingsales", "dinghelp")]
    assert spoken == ["en", "zh"]


def test_unless_it_was_told_one_a_bot_speaks_the_language_of_the_message():
    bots = bots_of(SALES)
    spoken = [bots.language_of(envelope(text=text)) for text in ("hello", "你好", "1")]
    assert spoken == ["en", "zh", "both"]
    assert bots.language_of(envelope(text=""), "zh") == "zh"
    assert bots.shown_of(envelope(text="你好")).language == "zh"


def test_each_bot_may_have_words_of_its_own(tmp_path):
    for name in ("ours", "sales"):
        (tmp_path / f"{name}.toml").write_text(f'[late]\nen = "{name}"\n')
    sales = SALES | {"bot_words": "sales.toml"}
    bots = bots_of(sales, SUPPORT, bot_words="ours.toml", bot_language="en")
    said = [
        LATE.in_(bots.language_of(envelope(client_id=name))) for name in ("dingsales", "dinghelp")
    ]
    assert said == ["sales", "ours"]


def test_sending_imports_no_agent():
    settings = WorkerSettings.load(bots=(SALES | {"agent": "nowhere:agent"},))
    bots = Bots.for_sending(settings, api)
    assert bots.openapi_of(envelope(client_id="dingsales")) is not None
    bots.close()


def test_the_processes_of_a_bot_share_token_pace_and_budget(tmp_path):
    """Two of them, as a worker and an operator's command are, on one store."""
    with running() as dingtalk, opened(tmp_path) as shared:
        dingtalk.answers_at("/v1.0/oauth2/accessToken", Told(200, {"accessToken": "t"}))
        dingtalk.answers({"success": True})
        values = {"openapi_endpoint": dingtalk.url, "api_budget": 3} | SALES
        settings = WorkerSettings.load(**values)
        processes = [openapi_of(settings, shared.store) for _ in range(2)]

        for process in (*processes, processes[0]):
            assert process is not None
            process.call("POST", "/v1.0/card/instances", {})
        for process in processes:
            assert process is not None
            with pytest.raises(ApiBudgetUsedUpError):
                process.call("POST", "/v1.0/card/instances", {})
            process.close()

        assert len(dingtalk.posts_to("/v1.0/oauth2/accessToken")) == 1
        assert len(dingtalk.posts_to("/v1.0/card/instances")) == 3
