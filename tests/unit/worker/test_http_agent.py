"""``worker.agents.http``: what a server is asked with, and what becomes of its answers.

The server is a real one on 127.0.0.1, and the agent is run as a worker runs it.
"""

import asyncio
import base64
import hashlib
import hmac
import ssl
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from contract.content import Attachment, Mention, Quoted
from contract.routing import task_id
from dingwire.errors import MediaTooLargeError
from dingwire.replies import ActionCard, Image, Markdown, Text, Video
from tests.servers import wait_for
from tests.unit.dingwire.local_server import LocalServer, Told, running
from tests.unit.worker.answering_parts import SECRET_WORDS, envelope
from worker.agents.agent_settings import AgentSettingsError
from worker.agents.base import Message
from worker.agents.cancelling import AgentStoppedError, Cancellation
from worker.agents.context import Context, Retry, Said
from worker.agents.http import HttpAgent, HttpAgentSettings, agent
from worker.agents.http.answers import BadAnswerError, json_of, replies_in
from worker.agents.http.signing import keys_in
from worker.agents.results import replies_of
from worker.agents.runner import AgentFailedError, AgentRunner, AgentTimeoutError
from worker.agents.shape import shape_of

NOW_S = 1_772_355_600
PNG = base64.b64encode(b"\x89PNG").decode()
MESSAGE = Message.of(envelope(text="hello"))
PATIENCE_S = 120.0


@pytest.fixture
def server():
    with running() as server:
        server.answers({"reply": "hi"})
        yield server


def runner_for(server: LocalServer, **settings: Any) -> AgentRunner:
    read = HttpAgentSettings.load(first={"url": f"{server.url}/ask", **settings})
    return AgentRunner(HttpAgent(read, clock=lambda: NOW_S), settings=read)


def ask(server: LocalServer, message: Message = MESSAGE, **settings: Any) -> Any:
    return runner_for(server, **settings).run(message, limit_s=PATIENCE_S)


def stream(*events: str) -> Told:
    body = "".join(f"{event}\n\n" for event in events)
    return Told(200, body, {"Content-Type": "text/event-stream; charset=utf-8"})


def test_the_agent_is_a_class_whose_objects_yield_and_which_is_given_its_settings():
    shape = shape_of(agent)
    assert (shape.is_class, shape.is_async, shape.takes_context) == (True, True, True)
    assert shape.settings is HttpAgentSettings


# What the server is asked with.


def test_a_server_is_told_everything_that_an_agent_is_told(server, tmp_path):
    at = datetime(2026, 3, 1, 9, tzinfo=UTC)
    sent = envelope(
        text="look",
        attachments=(Attachment(kind="file", name="a.pdf", size=3, download_code="c1"),),
        quoted=Quoted(text="before", kind="text", message_id="m0", sender_nick="Bob"),
        mentions=(Mention(staff_id="bob", name="Bob"),),
        deadline=at,
        created_at=at,
        raw={"hologram": {"depth": 3}},
    )
    message = Message.of(sent)
    context = Context[Any](
        message, history=[Said("user", "earlier", at=at)], left_s=lambda: 41.25, settings=None
    )

    runner_for(server).run(message, context=context, limit_s=PATIENCE_S)

    [seen] = server.seen
    assert (seen.method, seen.path) == ("POST", "/ask")
    assert seen.headers["Content-Type"] == "application/json"
    assert seen.headers["Accept"] == "application/json, text/event-stream"
    file = {"kind": "file", "name": "a.pdf", "size": 3, "duration_ms": None, "media_type": ""}
    assert seen.body == {
        "version": 1,
        "message_id": sent.message_id,
        "bot": sent.bot,
        "text": "look",
        "kind": "text",
        "sender": {
            "staff_id": sent.sender_staff_id,
            "nick": sent.sender_nick,
            "sender_id": sent.sender_id,
            "is_admin": False,
        },
        "conversation": {
            "kind": "private",
            "id": sent.conversation_id,
            "title": sent.conversation_title,
        },
        "quoted": {
            "text": "before",
            "kind": "text",
            "message_id": "m0",
            "sender_id": "",
            "sender_nick": "Bob",
            "is_from_bot": False,
            "created_at": None,
            "attachments": [],
        },
        "mentions": [{"staff_id": "bob", "name": "Bob", "is_bot": False}],
        "attachments": [file | {"data": None, "error": None}],
        "history": [
            {
                "role": "user",
                "text": "earlier",
                "sender_nick": "",
                "sender_id": "",
                "at": "2026-03-01T09:00:00Z",
            }
        ],
        "is_delegated": False,
        "raw": {"hologram": {"depth": 3}},
        "created_at": "2026-03-01T09:00:00Z",
        "deadline": "2026-03-01T09:00:00Z",
        "remaining_s": 41.25,
    }


def test_no_webhook_and_no_download_code_goes_out(server):
    ask(server, Message.of(envelope(attachments=(Attachment(download_code="c0de"),))))

    assert b"sendBySession" not in server.seen[0].raw
    assert b"c0de" not in server.seen[0].raw


def test_a_server_reads_by_itself_the_kinds_that_the_operator_names(server, monkeypatch):
    monkeypatch.setenv("HTTP_AGENT_READS", "interactiveCard, chatRecord")

    assert runner_for(server).reads == {"interactiveCard", "chatRecord"}
    assert runner_for(server, reads=["hologram"]).reads == {"hologram"}


def test_half_an_emoji_does_not_keep_a_message_from_the_server(server):
    ask(server, Message.of(envelope(text="hi \ud83d")))
    assert server.seen[0].body["text"] == "hi ?"


def signature_of(key: bytes, id_: str, body: bytes) -> str:
    """As Standard Webhooks has it, written out."""
    content = id_.encode() + b"." + str(NOW_S).encode() + b"." + body
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def test_a_request_is_signed_with_every_key(server):
    old, new = b"the old key of 24 bytes.", b"the new key of 24 bytes."
    secret = f"whsec_{base64.b64encode(new).decode()}, {old.decode()}"

    ask(server, secret=secret)

    [seen] = server.seen
    id_ = task_id(MESSAGE.bot, MESSAGE.message_id)
    assert (seen.headers["webhook-id"], seen.headers["webhook-timestamp"]) == (id_, str(NOW_S))
    assert seen.headers["webhook-signature"].split() == [
        signature_of(new, id_, seen.raw),
        signature_of(old, id_, seen.raw),
    ]


def test_the_signature_is_that_of_the_published_example():
    """From the pages of Standard Webhooks, so that its libraries verify ours."""
    from worker.agents.http.signing import signed

    keys = keys_in("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed(
        keys, id_="msg_p5jXN8AQM9LWM0D4loKWxJek", at_s=1614265330, body=b'{"test": 2432232314}'
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_headers_of_ones_own_go_along_and_without_a_secret_nothing_is_signed(server):
    ask(server, headers={"Authorization": "Bearer t0ken"})

    assert server.seen[0].headers["Authorization"] == "Bearer t0ken"
    assert "webhook-signature" not in server.seen[0].headers


def picture(tmp_path: Path, *contents: bytes) -> Message:
    codes = tuple(Attachment(kind="picture", download_code=f"c{n}") for n in range(len(contents)))

    def fetch(code: Attachment) -> Path:
        content = contents[int(code.download_code[1:])]
        if not content:
            raise MediaTooLargeError("it has more than 20 MB")
        path = tmp_path / code.download_code
        path.write_bytes(content)
        return path

    return Message.of(envelope(attachments=codes), fetch)


def test_files_go_along_up_to_the_limit_and_those_that_do_not_say_why(server, tmp_path):
    ask(server, picture(tmp_path, b"12345", b"", b"123456", b"54321"), files_mb=0.00001)

    files = [(each["data"], each["error"]) for each in server.seen[0].body["attachments"]]
    assert files == [
        (base64.b64encode(b"12345").decode(), None),
        (None, "it has more than 20 MB"),
        (None, "larger than HTTP_AGENT_FILES_MB allows"),
        (base64.b64encode(b"54321").decode(), None),
    ]


def test_unless_it_is_wanted_no_file_is_fetched(server, tmp_path):
    ask(server, picture(tmp_path, b"12345"))

    assert server.seen[0].body["attachments"][0]["data"] is None
    assert list(tmp_path.iterdir()) == []


# What it answers, as JSON.


@pytest.mark.parametrize(
    ("answer", "replies"),
    [
        ({"reply": "hi"}, [Text(content="hi")]),
        ({"reply": "# Hi"}, [Markdown(title="Hi", text="# Hi")]),
        ({"reply": {"kind": "text", "content": "# Hi"}}, [Text(content="# Hi")]),
        ({"reply": ["one", "two"]}, [Text(content="one"), Text(content="two")]),
        (
            {"reply": ["one", {"kind": "image", "url": "https://a.example/b.png"}, " ", "two"]},
            [Text(content="one"), Image(url="https://a.example/b.png"), Text(content="two")],
        ),
        (
            {"reply": {"kind": "image", "data": PNG, "name": "b.png"}},
            [Image(data=b"\x89PNG", name="b.png")],
        ),
        (
            {
                "reply": {
                    "kind": "action_card",
                    "title": "t",
                    "text": "x",
                    "buttons": [{"title": "b", "url": "https://a.example/"}],
                }
            },
            [
                ActionCard(
                    title="t", text="x", buttons=[{"title": "b", "url": "https://a.example/"}]
                )
            ],
        ),
        (
            {
                "reply": {
                    "kind": "video",
                    "data": PNG,
                    "name": "v.mp4",
                    "duration_s": 1,
                    "cover": {"data": PNG},
                }
            },
            [Video(data=b"\x89PNG", name="v.mp4", duration_s=1, cover=Image(data=b"\x89PNG"))],
        ),
        ({"reply": None}, []),
        ({"reply": ""}, []),
        ({"reply": []}, []),
        ({"reply": "hi", "tomorrow": 1}, [Text(content="hi")]),
    ],
    ids=[
        *("text", "markdown", "kind", "several", "mixed", "bytes", "buttons", "video"),
        *("null", "blank", "none", "more"),
    ],
)
def test_an_answer_in_json_is_the_reply_it_stands_for(server, answer, replies):
    server.answers(answer)
    assert replies_of(ask(server)) == replies


def test_no_content_is_silence(server):
    server.answers("", status=204)
    assert replies_of(ask(server)) == []


REPLY = "answered with a reply "


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"error": "no_stock"}, "failed: no_stock"),
        ({"error": f"I cannot answer {SECRET_WORDS}"}, "failed: error"),
        ({"error": {"code": SECRET_WORDS}}, "failed: error"),
        ({"text": SECRET_WORDS}, "answered without any of reply, retry_after_s and error"),
        ([SECRET_WORDS], "answered without any of reply, retry_after_s and error"),
        (f"<html>{SECRET_WORDS}", "answered with what is no JSON"),
        ("[" * 100_000, "answered with what is no JSON"),
        (b"\xff\xfe", "answered with what is no JSON"),
        ({"reply": 7}, f"{REPLY}that is neither text nor an object"),
        ({"reply": {"kind": SECRET_WORDS}}, f"{REPLY}of no known kind"),
        ({"reply": {"kind": ["text"]}}, f"{REPLY}of no known kind"),
        ({"reply": {"kind": "text", SECRET_WORDS: 1}}, f"{REPLY}that has a field of no known name"),
        ({"reply": {"kind": "text", "content": " "}}, "Text: content: must not be blank"),
        (
            {"reply": {"kind": "image", "path": "/etc/passwd"}},
            "answered with a path: give data in base64, a url or a media_id",
        ),
        (
            {"reply": {"kind": "video", "duration_s": 1, "cover": {"path": "/etc/x.png"}}},
            "answered with a path: give data in base64, a url or a media_id",
        ),
        ({"reply": {"kind": "image", "data": "x"}}, "answered with data that is no base64"),
        ({"retry_after_s": "soon"}, "answered with a retry_after_s that is no number of seconds"),
        ({"retry_after_s": -1}, "answered with a retry_after_s that is no number of seconds"),
    ],
    ids=range(18),
)
def test_an_answer_that_is_none_fails_in_words_that_tell_nothing_of_it(server, answer, problem):
    server.answers(answer)
    with pytest.raises(AgentFailedError) as failed:
        ask(server)
    assert failed.value.detail == problem


@pytest.mark.parametrize("status", [302, 400, 404, 500, 503])
def test_another_status_fails_with_it_and_no_redirect_is_followed(server, status):
    server.answers({"reply": "hi"}, status=status, headers={"Location": f"{server.url}/else"})

    with pytest.raises(AgentFailedError) as failed:
        ask(server)

    assert failed.value.detail == f"answered {status}"
    assert len(server.seen) == 1


def asked_for_again(server: LocalServer) -> Retry:
    """Run the agent itself, as the runner's own end of this is tested elsewhere."""

    async def run() -> Retry:
        its = HttpAgent(HttpAgentSettings(_env_file=None, url=server.url))
        with pytest.raises(Retry) as again:
            _ = [each async for each in its(MESSAGE, Context(MESSAGE))]
        return again.value

    return asyncio.run(run())


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_that_says_for_how_long_is_asked_again(server, status):
    server.answers("", status=status, headers={"Retry-After": "7"})

    again = asked_for_again(server)

    assert again.after_s == 7
    assert str(again.__cause__) == f"answered {status}"


def test_a_server_may_ask_to_be_asked_again(server):
    server.answers({"retry_after_s": 2.5})
    assert asked_for_again(server).after_s == 2.5
    server.answers({"retry_after_s": 10**400})
    assert asked_for_again(server).after_s == 86_400


def test_a_server_that_is_away_is_asked_again():
    with running() as server:
        pass

    again = asked_for_again(server)

    assert again.after_s == 1
    assert str(again.__cause__) == "cannot be asked: no connection"


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        (Told(200, {"reply": "hi"}, breaks_off=True), "broke off: RemoteProtocolError"),
        (Told(hangs_up=True), "broke off: RemoteProtocolError"),
        (
            Told(200, {"reply": "hi"}, {"Content-Encoding": "gzip"}),
            "answered compressed, which was not asked for",
        ),
    ],
    ids=["breaks off", "hangs up", "compressed"],
)
def test_an_answer_that_does_not_come_whole_fails(server, told, problem):
    server.default = told
    with pytest.raises(AgentFailedError) as failed:
        ask(server)
    assert failed.value.detail == problem


@pytest.mark.parametrize("media_type", ["application/json", "text/event-stream"])
def test_an_answer_without_an_end_is_not_read_to_it(server, monkeypatch, media_type):
    monkeypatch.setattr("worker.agents.http.asking.MAX_ANSWER_BYTES", 1000)
    server.answers('data: "x"\n\n' * 1000, headers={"Content-Type": media_type}, chunked=True)

    with pytest.raises(AgentFailedError) as failed:
        ask(server)

    assert failed.value.detail == "answered with more than 1000 bytes"


def test_one_event_without_an_end_is_not_read_to_it(server, monkeypatch):
    monkeypatch.setattr("worker.agents.http.asking.MAX_ANSWER_BYTES", 1000)
    server.default = stream(f'data: "{"x" * 5000}"')

    with pytest.raises(AgentFailedError) as failed:
        ask(server)

    assert failed.value.detail == "broke off: SSEError"


def test_a_certificate_that_nobody_vouches_for_is_refused(tls_context):
    with running(tls_context) as server:
        server.url = server.url.replace("http:", "https:")
        with pytest.raises(AgentFailedError) as failed:
            ask(server)
    assert failed.value.detail == "cannot be asked: TLS certificate not trusted"
    assert server.seen == []


@pytest.fixture
def tls_context(tmp_path):
    """That of a server whose certificate only it itself vouches for."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


# Server-sent events.


def test_a_stream_is_told_piece_by_piece_and_is_the_reply_in_the_end(server):
    server.default = stream(
        ": a comment",
        'data: "one "',
        'event: piece\ndata: "two\\n"',
        'event: of_tomorrow\ndata: "?"',
        'data: {"kind": "image", "url": "https://a.example/b.png"}',
        "event: done",
        'data: "after the end"',
    )
    pieces: list[Any] = []

    result = runner_for(server).run(MESSAGE, limit_s=PATIENCE_S, on_piece=pieces.append)

    image = Image(url="https://a.example/b.png")
    assert pieces == ["one ", "two\n", image]
    assert replies_of(result) == [Text(content="one two\n"), image]


def test_a_stream_may_be_written_in_any_of_the_ways_that_there_are(server):
    body = (
        '\ufeffdata: "one "\r\n\r\n'  # with a mark of UTF-8 before it
        "retry: 3000\r\rid: 7\n\nevent: piece\n\n"  # which say nothing
        'data:{"kind": "text",\ndata:"content": "x"}\n\n' + "event:done\n\n"
    )
    server.default = Told(200, body, {"Content-Type": "text/event-stream"})

    assert replies_of(ask(server)) == [Text(content="one "), Text(content="x")]


def test_a_piece_is_told_before_the_stream_ends(server):
    server.default = stream('data: "one "', 'data: "and two"')
    server.default.stalls = True

    with pytest.raises(AgentFailedError):
        runner_for(server).run(
            MESSAGE, limit_s=PATIENCE_S, on_piece=lambda _: server.released.set()
        )
    assert server.released.is_set()


def test_what_it_says_meanwhile_is_sent_at_once_and_its_progress_shown(server):
    server.default = stream(
        'event: progress\ndata: "searching"',
        'event: say\ndata: "a moment"',
        'data: "found"',
        "event: done",
    )
    told: list[Any] = []
    context = Context[Any](MESSAGE, say=told.append, progress=told.append)

    result = runner_for(server).run(MESSAGE, context=context, limit_s=PATIENCE_S)

    assert told == ["searching", "a moment"]
    assert result == "found"


@pytest.mark.parametrize(
    ("events", "problem"),
    [
        (['data: "one"'], "broke off: its stream ended without the event done"),
        (['event: error\ndata: {"error": "no_model"}'], "failed: no_model"),
        (['event: error\ndata: {"reply": "?"}'], "failed: error"),
        (["data: one"], "answered with what is no JSON"),
        (['event: progress\ndata: {"a": 1}'], "answered with a progress that is no text"),
    ],
    ids=["no end", "error", "odd error", "no json", "odd progress"],
)
def test_a_stream_that_goes_wrong_fails(server, events, problem):
    server.default = stream(*events)
    with pytest.raises(AgentFailedError) as failed:
        ask(server)
    assert failed.value.detail == problem


def test_a_stream_may_ask_to_be_asked_again(server):
    server.default = stream('data: "one"', 'event: error\ndata: {"retry_after_s": 3}')
    assert asked_for_again(server).after_s == 3


# Time.


def test_a_server_that_takes_too_long_is_left(server):
    server.default = Told(hangs=True)
    with pytest.raises(AgentTimeoutError):
        runner_for(server).run(MESSAGE, limit_s=0.3)


def test_one_that_is_stopped_is_left_at_once(server):
    server.default = Told(hangs=True)
    cancellation = Cancellation()
    context = Context[Any](MESSAGE, cancellation=cancellation)

    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(runner_for(server).run, MESSAGE, context=context, limit_s=PATIENCE_S)
        wait_for(lambda: server.seen, what="the request")
        cancellation.cancel()
        with pytest.raises(AgentStoppedError):
            run.result(PATIENCE_S)


def test_hundred_wait_at_once_in_one_thread(server):
    server.default = Told(200, '{"reply": "hi"}', stalls=True)
    runner = runner_for(server)
    before = set(threading.enumerate())

    with ThreadPoolExecutor(100) as pool:
        runs = [pool.submit(runner.run, MESSAGE, limit_s=PATIENCE_S) for _ in range(100)]
        wait_for(lambda: len(server.seen) == 100, what="all requests")
        server.released.set()
        ends = {type(run.exception(PATIENCE_S)) for run in runs}

    assert ends == {AgentFailedError}, "each was cut off in the middle, after all had begun"
    begun = set(threading.enumerate()) - before
    assert [each.name for each in begun if each.name.startswith("agent")] == ["agents"]


# Settings.


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "Field required"),
        ({"url": "ftp://a.example"}, "must start with https:// or http:// and name a host"),
        ({"url": "https://"}, "must start with https:// or http:// and name a host"),
        ({"url": "https://a.example:x"}, "cannot be read as an address"),
        ({"url": "https://u:p@a.example"}, "must hold no password"),
        ({"url": "https://a.example"}, "needed, as the server is not on this machine"),
        ({"url": "https://a.example", "secret": " , "}, "needed, as the server"),
        ({"url": "https://a.example", "secret": "short"}, "must have 16 bytes or more"),
        ({"url": "https://a.example", "secret": "whsec_!"}, "must be base64"),
        ({"url": "http://127.0.0.1", "headers": "{"}, "not JSON"),
        ({"url": "http://127.0.0.1", "headers": {"a b": "c"}}, "those of HTTP headers"),
        ({"url": "http://127.0.0.1", "headers": {"a": "b\r\nc: d"}}, "those of HTTP headers"),
        ({"url": "http://127.0.0.1", "headers": {"Host": "b"}}, "Host is set by the agent itself"),
    ],
    ids=range(13),
)
def test_settings_that_cannot_work_are_refused(settings, problem):
    with pytest.raises(AgentSettingsError, match=f"^HTTP_AGENT_[A-Z]+: .*{problem}"):
        HttpAgentSettings.load(first=settings)


def test_headers_are_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("HTTP_AGENT_URL", "http://localhost:8000/ask")
    monkeypatch.setenv("HTTP_AGENT_HEADERS", '{"X-Key": "k3y"}')

    settings = HttpAgentSettings.load()

    assert settings.headers["X-Key"].get_secret_value() == "k3y"
    assert "k3y" not in repr(settings)
    assert settings.is_local


def test_what_is_read_of_an_answer_needs_no_server():
    assert replies_in(json_of('{"reply": "hi"}')) == ["hi"]
    with pytest.raises(BadAnswerError):
        replies_in(json_of("null"))
