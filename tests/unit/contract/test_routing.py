import ast

import pytest

from contract.routing import QUEUES, queue_arguments, safe_kwargsrepr, task_id


def test_a_task_id_stays_what_it_was_in_earlier_releases():
    """Messages in flight during a deploy, and records in stores, are found by it."""
    assert task_id("dingbot", "msg1") == "e2059480-7e65-5912-a8d2-aae57aa13fd7"


def test_the_same_message_to_two_bots_is_two_tasks():
    assert task_id("one", "msg1") != task_id("two", "msg1")


def test_bot_and_message_id_do_not_run_together():
    assert task_id("ab", "c") != task_id("a", "bc")


@pytest.mark.parametrize("message_id", ["msg1", "it's", 'say "hi"', "\n", "消息"])
def test_flower_can_find_a_task_by_its_message_id_and_nothing_else(message_id):
    assert ast.literal_eval(safe_kwargsrepr(message_id)) == {"message_id": message_id}


@pytest.mark.parametrize("url", ["amqp://guest@localhost//", "amqps://queue.example"])
def test_rabbitmq_gets_quorum_queues(url):
    assert queue_arguments(url) == {"x-queue-type": "quorum"}


@pytest.mark.parametrize("url", ["redis://localhost", "rediss://localhost", "embedded://"])
def test_other_brokers_get_plain_queues(url):
    assert queue_arguments(url) == {}


def test_queue_names_stay_what_they_were():
    assert QUEUES == ("messages", "turns", "replies", "events", "commands")
