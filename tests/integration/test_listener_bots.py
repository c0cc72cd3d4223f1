"""One listener process that holds the connections of several bots."""

import asyncio
import logging
from typing import Any

import requests
from prometheus_client.parser import text_string_to_metric_families

from contract.broker import Broker
from contract.report import ListenerStatus, read_report
from contract.routing import EVENTS, task_id
from dingwire.simulator import Simulator
from tests.listening import envelopes_on, running_listener
from tests.servers import free_port, wait_for

LIMIT_S = 60.0
TABLES = (
    {"client_id": "dingsales", "client_secret": "s3cret", "name": "sales"},
    {"client_id": "dinghelp", "client_secret": "s3cret", "allowed_users": ["bob"]},
)


def _bots(**values: Any) -> dict[str, Any]:
    return {"client_id": "", "client_secret": "", "bots": TABLES, **values}


def _statuses(broker: Broker) -> list[ListenerStatus]:
    found = []
    with broker.connection() as connection:
        queue = next(q for q in broker.queues() if q.name == EVENTS)(connection.default_channel)
        while (message := queue.get(no_ack=True)) is not None:
            found.append(read_report(message.payload[1]["report"]))
    return [report for report in found if isinstance(report, ListenerStatus)]


async def _until(condition: Any, what: str) -> None:
    await asyncio.to_thread(wait_for, condition, limit_s=LIMIT_S, what=what)


async def test_a_message_that_mentions_two_bots_is_two_messages(tmp_path):
    broker = Broker.from_url("embedded://", tmp_path)
    async with Simulator() as simulator, running_listener(simulator, tmp_path, **_bots()):
        await simulator.until_connected(2, LIMIT_S)
        for to in ("dingsales", "dinghelp"):
            await simulator.say("hello", "bob", group="team", msgId="msg1", to=to)
        # Once more, as DingTalk does when it did not see the ack.
        await simulator.say("hello", "bob", group="team", msgId="msg1", to="dingsales")
        await simulator.until(lambda s: len(s.message_acks) == 3, LIMIT_S)

    found = {envelope.client_id: envelope for envelope in envelopes_on(broker)}
    assert found.keys() == {"dingsales", "dinghelp"}
    assert {each.message_id for each in found.values()} == {"msg1"}
    assert [each.bot for each in found.values()] == list(found)
    assert len({task_id(each.bot, each.message_id) for each in found.values()}) == 2


async def test_each_bot_lets_in_whom_its_table_names(tmp_path):
    broker = Broker.from_url("embedded://", tmp_path)
    async with Simulator() as simulator, running_listener(simulator, tmp_path, **_bots()):
        await simulator.until_connected(2, LIMIT_S)
        for to in ("dingsales", "dinghelp"):
            for person in ("alice", "bob"):
                await simulator.say("hello", person, to=to)
        await simulator.until(lambda s: len(s.message_acks) == 4, LIMIT_S)

    let_in = [(each.client_id, each.sender_staff_id) for each in envelopes_on(broker)]
    assert sorted(let_in) == [("dinghelp", "bob"), ("dingsales", "alice"), ("dingsales", "bob")]
    last = {status.bot: status for status in _statuses(broker)}
    assert {bot: status.denied for bot, status in last.items()} == {"dingsales": 0, "dinghelp": 1}
    assert (last["dinghelp"].allowed_users, last["dingsales"].allows_everybody) == (1, True)
    assert len({status.listener for status in last.values()}) == 1


async def test_a_bot_that_dingtalk_refuses_disturbs_no_other_and_is_named(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    port, broker = free_port(), Broker.from_url("embedded://", tmp_path)
    address = f"http://127.0.0.1:{port}"
    async with (
        Simulator(client_id="dingsales", client_secret="s3cret") as simulator,
        running_listener(simulator, tmp_path, health_port=port, **_bots()),
    ):
        await _until(
            lambda: any(getattr(r, "bot", "") == "dinghelp" for r in list(caplog.records)),
            "the refused bot to be logged",
        )
        message = await simulator.say("hello", "alice", to="dingsales")
        await simulator.until(lambda s: s.message_acks, LIMIT_S)
        health = await asyncio.to_thread(requests.get, f"{address}/healthz", timeout=60)
        shown = await asyncio.to_thread(requests.get, f"{address}/metrics", timeout=60)

    assert [each.message_id for each in envelopes_on(broker)] == [message.message_id]
    assert health.status_code == 503
    body = health.json()
    assert body["reasons"] == {"not_connected": "no connection to DingTalk is up: dinghelp"}
    ups = {each["bot"]: each["connections_up"] for each in body["bots"]}
    assert ups == {"sales": 1, "dinghelp": 0}
    assert (body["connections_up"], body["connections_wanted"]) == (1, 2)
    found = {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(shown.text)
        for sample in family.samples
    }

    def metric(name: str, *labels: str) -> float:
        return found[f"dingtalk_listener_{name}", frozenset(labels)]

    assert metric("connections_up", "sales") == metric("healthy", "sales") == 1
    assert metric("connections_up", "dinghelp") == metric("healthy", "dinghelp") == 0
    assert metric("messages_total", "sales", "enqueued") == 1
    assert metric("reconnects_total", "dinghelp", "refused") >= 1
    assert metric("broker_up") == 1, "what they share is there once"
    reconnecting = {
        vars(r).get("bot")
        for r in caplog.records
        if vars(r).get("action") == "reconnecting" and vars(r).get("peer") == "dingtalk"
    }
    assert reconnecting == {"dinghelp"}
    trouble = {status.bot: status.trouble for status in _statuses(broker)}
    assert trouble["dinghelp"] == "refused"
