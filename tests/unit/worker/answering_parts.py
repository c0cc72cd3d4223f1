"""A worker's parts around a real store, with a clock that passes only when told.

Used by the tests of answering, delivery and late replies. Work runs in a thread of its own, as
under the threads pool.
"""

import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from contract.envelope import Envelope
from contract.routing import task_id
from contract.sealing import IN_CLEAR, Sealer
from dingwire.openapi import Api
from dingwire.replies import Markdown, Media, Reply, Text
from dingwire.webhook import WebhookHosts
from worker.agents.attachment_files import AttachmentFiles, Source
from worker.agents.runner import AgentRunner
from worker.answering import Answering
from worker.asking import Asking
from worker.bots import BotParts, Bots, Runner
from worker.chat_commands import ChatCommands
from worker.leases import Heartbeat
from worker.memory import Memory
from worker.outcome import Outcome
from worker.own_commands import OwnCommands, judged
from worker.patience import PatientStore
from worker.sending.apology import Apology
from worker.sending.carrying import Carrier, Webhook
from worker.sending.delivery import Delivery
from worker.sending.handover import Handover
from worker.sending.late import LateReplies
from worker.sending.pacing import Pacing
from worker.sending.resending import Resender
from worker.sending.saying import Saying
from worker.sending.uploading import Uploading
from worker.settings import WorkerSettings
from worker.stopping import Stopping
from worker.store import DueMessage, MissedReply
from worker.store.sql import SqlStore
from worker.thinking import CardDelivery, CardSettings, Mode, Shown, Thinking
from worker.turns import Turns
from worker.words import Spoken

__all__ = [
    "LEASE_S",
    "SECRET_WORDS",
    "SESSION",
    "START",
    "WEBHOOK",
    "Clock",
    "Desk",
    "RecordingProactive",
    "RecordingUploads",
    "RecordingWebhook",
    "envelope",
    "words",
]

START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
SECRET_WORDS = "my salary is a secret"
SESSION = "5e55104b"
WEBHOOK = f"https://oapi.dingtalk.com/robot/sendBySession?session={SESSION}"
LEASE_S = 15.0


class Clock:
    """Both the worker's clock and the store's."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def ms(self) -> int:
        return round(self.now.timestamp() * 1000)

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def envelope(**more: Any) -> Envelope:
    """A private message of now, whose webhook lives 20 minutes."""
    facts: dict[str, Any] = {
        "bot": "robot1",
        "message_id": "msg1",
        "conversation_id": "cid1",
        "sender_staff_id": "staff1",
        "sender_nick": "Alice in secret",
        "text": SECRET_WORDS,
        "session_webhook": WEBHOOK,
        "deadline": START + timedelta(minutes=20),
        "received_at": START,
    }
    return Envelope(**facts | more)


def words(reply: Reply) -> str:
    """What is read of a reply; of one that is more than words, its kind."""
    if isinstance(reply, Text):
        return reply.content
    return reply.text if isinstance(reply, Markdown) else f"[{reply.kind}]"


class RecordingWebhook:
    """Takes every post, unless told what to answer; ``at_post`` is called while it happens."""

    def __init__(self) -> None:
        self.posted: list[str] = []
        self.uuids: list[str | None] = []
        self.attempts = 0
        self.answers: list[Exception] = []
        self.answer_always: Exception | None = None
        self.at_post: Callable[[], object] = lambda: None

    def post(self, url: str, reply: Reply, *, msg_uuid: str | None = None) -> None:
        self.attempts += 1
        self.uuids.append(msg_uuid)
        self.at_post()
        error = self.answers.pop(0) if self.answers else self.answer_always
        if error is not None:
            raise error
        self.posted.append(words(reply))


@dataclass
class RecordingProactive:
    """DingTalk's API, as far as a rescue goes."""

    sent: list[tuple[str, str, str, str]] = field(default_factory=list)
    answers: list[Exception] = field(default_factory=list)

    def _send(self, *facts: str) -> str:
        if self.answers:
            raise self.answers.pop(0)
        self.sent.append(facts)  # type: ignore[arg-type]
        return "key"

    def send_to_user(self, robot_code: str, staff_id: str, reply: Reply) -> str:
        return self._send("user", robot_code, staff_id, words(reply))

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        facts = body or {}
        self._send("card", path, facts["openSpaceId"], facts["outTrackId"])
        return {"success": True, "result": {"deliverResults": [{"success": True}]}}

    def send_to_group(self, robot_code: str, conversation_id: str, reply: Reply) -> str:
        return self._send("group", robot_code, conversation_id, words(reply))


class RecordingUploads:
    """Takes every file, unless told what to answer; ``at_upload`` is called while it happens."""

    def __init__(self) -> None:
        self.uploaded: list[Media] = []
        self.answers: list[Exception] = []
        self.at_upload: Callable[[], object] = lambda: None

    def upload(self, api: Any, media: Media, *, within_s: float) -> str:
        self.at_upload()
        if self.answers:
            raise self.answers.pop(0)
        self.uploaded.append(media)
        return f"@uploaded{len(self.uploaded)}"


class Desk:
    """One store, and any number of workers on it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "store.db"
        self.clock = Clock()
        self.store = SqlStore(f"sqlite:///{self.file}", clock_ms=self.clock.ms)
        self.store.prepare()
        self.webhook = RecordingWebhook()
        self.proactive = RecordingProactive()
        self.uploads = RecordingUploads()
        self.agent_calls: list[str] = []
        self.published: list[DueMessage] = []
        self.told: list[tuple[str, Outcome]] = []
        self.outcomes: list[Outcome] = []
        self._threads = ThreadPoolExecutor(4)

    def close(self) -> None:
        self._threads.shutdown()
        self.store.close()

    def agent(self, reply: Any = "an answer", *, takes_s: float = 0) -> Callable[[Any], Any]:
        """An agent that takes its time on our clock and counts its calls."""

        def agent(message: Any) -> Any:
            self.agent_calls.append(message.message_id)
            self.clock.advance(takes_s)
            if isinstance(reply, BaseException):
                raise reply
            return reply(message) if callable(reply) else reply

        return agent

    def worker(
        self,
        agent: Any = None,
        *,
        policy: Any = "flag",
        owner: str = "worker1",
        agent_timeout_s: float = 300,
        chat_commands: bool = True,
        proactive: Any = "recording",
        webhook: Webhook | None = None,
        hosts: tuple[str, ...] = ("oapi.dingtalk.com",),
        turns: Turns | None = None,
        hands_over: bool = False,
        at_sender: bool = False,
        sealer: Sealer = IN_CLEAR,
        bots: Bots | None = None,
        runner: Runner | None = None,
        source: Source | None = None,
        language: Spoken = "both",
        thinking: Mode = "off",
        still_working_s: float | None = None,
        card: CardSettings | None = None,
        api: Api | None = None,
        replies_per_minute: int | None = None,
        commands: Any = None,
        failed_notice: bool = True,
        agent_retries: int = 0,
        history: dict[str, Any] | None = None,
    ) -> Answering:
        store = PatientStore(self.store, self.published.append)
        sender = self.proactive if proactive == "recording" else proactive
        uploads_api: Any = sender  # nothing of it is asked by the recording uploads
        heartbeat = Heartbeat(self.store, lease_s=LEASE_S)
        carrier = Carrier(
            webhook or self.webhook,
            lambda _: sender,
            Pacing(store, replies_per_minute=replies_per_minute),
        )
        late = LateReplies(store, policy=policy, carrier=carrier, heartbeat=heartbeat)
        delivery = Delivery(
            store,
            carrier=carrier,
            late=late,
            heartbeat=heartbeat,
            clock=self.clock,
            language_of=lambda _: language,
        )
        tell = lambda task_id, outcome: self.told.append((task_id, outcome))  # noqa: E731
        handover = Handover(
            store,
            delivery=delivery,
            heartbeat=heartbeat,
            owner=owner,
            lease_s=LEASE_S,
            tell=tell,
            sealer=sealer,
            observe=self.outcomes.append,
        )
        resender = Resender(store, carrier=carrier, clock=self.clock, sealer=sealer)
        own = WorkerSettings.model_construct(
            client_id=None,
            agent_timeout_s=agent_timeout_s,
            bot_language=language,
            bot_words=None,
            reply_at_sender=at_sender,
            chat_commands=chat_commands,
            commands=commands and "own",
            agent_retries=agent_retries,
            **(history or {}),
        )
        bot = BotParts(own, runner or AgentRunner(agent or self.agent()), openapi=None)
        shown = Shown(thinking, still_working_s, card, "en")
        seen = Thinking(
            store,
            shown_of=lambda _: shown,
            api_of=lambda _: api,
            say=delivery.notify,
            spare_s=delivery.spare_s,
            heartbeat=heartbeat,
            delivery=CardDelivery(store, heartbeat=heartbeat, clock=self.clock),
        )
        bots = bots or Bots([bot], default=bot)
        uploading = Uploading(self.uploads, lambda _: uploads_api)
        saying = Saying(
            carrier, uploading=uploading, admit=store.admit, heartbeat=heartbeat, clock=self.clock
        )
        apology = Apology(
            store,
            say=delivery.notify,
            spare_s=delivery.spare_s,
            is_wanted=lambda _: failed_notice,
            language_of=lambda _: language,
            heartbeat=heartbeat,
        )
        memory = Memory(store, bots=bots, sealer=sealer, clock=self.clock)
        asking = Asking(
            store,
            bots=bots,
            uploading=uploading,
            late=late,
            saying=saying,
            apology=apology,
            heartbeat=heartbeat,
            files=AttachmentFiles(self.file.parent, lambda _: source),
            memory=memory,
            clock=self.clock,
            sealer=sealer,
        )
        own_commands = OwnCommands(
            bots,
            {"own": judged("own", commands)} if commands else {},
            runner=lambda call, its: AgentRunner(call, settings=its),
        )
        return Answering(
            store,
            bots=bots,
            hosts=WebhookHosts.parse(hosts),
            asking=asking,
            delivery=delivery,
            late=late,
            heartbeat=heartbeat,
            clock=self.clock,
            owner=owner,
            lease_s=LEASE_S,
            turns=turns or Turns(),
            tell=tell,
            handover=handover if hands_over else None,
            resender=resender,
            thinking=seen,
            commands=ChatCommands(
                bots,
                stopping=Stopping(store, hold_s=LEASE_S, tell=tell, observe=self.outcomes.append),
                memory=memory,
                own=own_commands,
            ),
            apology=apology,
            sealer=sealer,
            observe=self.outcomes.append,
        )

    def answer(self, worker: Answering, message: Envelope | None = None) -> Outcome:
        """What the task ``answer`` does."""
        message = message or envelope()
        return self.work(worker, message.to_wire(), message)

    def work(self, worker: Answering, data: Any, message: Envelope | None = None) -> Outcome:
        return self.start(worker, data, message).result(60)

    def start(
        self, worker: Answering, data: Any = "as it is", message: Envelope | None = None
    ) -> Future[Outcome]:
        """Begin to work on a message, in a thread."""
        message = message or envelope()
        data = message.to_wire() if data == "as it is" else data
        id_ = task_id(message.bot, message.message_id)
        return self._threads.submit(worker.work, id_, data)

    def work_on(self, worker: Answering, task_id: str, data: Any = None) -> Outcome:
        """What a task does with what the store has handed out."""
        return self._threads.submit(worker.work, task_id, data).result(60)

    def due(self) -> list[DueMessage]:
        return self.store.due(limit=10, hold_s=60)

    def deliver_when_due(self, worker: Answering, outcome: Outcome) -> Outcome:
        """What sweeper and task ``deliver`` do when a retry's time has come."""
        assert outcome.retry_in_s is not None
        self.clock.advance(outcome.retry_in_s + 0.001)
        (message,) = self.due()
        assert message.has_answer
        return self._threads.submit(worker.work, message.task_id, None).result(60)

    def missed(self) -> MissedReply | None:
        found = self.store.missed()
        assert len(found) <= 1
        return found[0] if found else None

    def record(self) -> dict[str, Any]:
        """The only message's row, as another process would see it now."""
        with sqlite3.connect(self.file) as connection:
            connection.row_factory = sqlite3.Row
            rows = connection.execute("SELECT * FROM dingtalk_messages").fetchall()
        connection.close()
        assert len(rows) == 1
        return dict(rows[0])
