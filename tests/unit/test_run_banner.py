"""`make run` shows its addresses when a message can really be taken."""

from datetime import datetime

import pytest
from honcho.printer import Message

from scripts.run import READY_WORDS, _Console


@pytest.mark.parametrize(
    ("line", "is_ready"),
    [
        ("INFO listener.connection: connected to DingTalk  action=connected peer=dingtalk", True),
        ("WARNING reconnecting to DingTalk  action=reconnecting peer=dingtalk attempt=1", False),
        ("INFO listener.enqueue: connected to the broker  action=connected peer=broker", False),
    ],
)
def test_a_listener_is_ready_once_it_is_connected_to_dingtalk(line, is_ready):
    """Else the first "hello" meets nobody and is lost."""
    console = _Console()
    when = datetime(2026, 1, 1)  # noqa: DTZ001, honcho's are naive

    console.write(Message("line", f"{line}\n".encode(), when, "listener", None))

    assert ("listener" not in console.waiting_for) is is_ready
    assert set(READY_WORDS) == {"listener", "worker"}
