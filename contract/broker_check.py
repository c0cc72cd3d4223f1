"""Can this process use the broker? A round trip that leaves no trace in our queues.

Both ``celery -A worker doctor`` and ``python -m listener --check`` ask. What is done depends on
the kind: RabbitMQ gets a message into a queue that only this connection sees, Redis runs a script
as a worker does to take a message, the embedded broker writes a file and moves it.
"""

import os
import tempfile
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import kombu

from contract.broker import Broker
from contract.checks import Check

__all__ = ["check_broker", "words_of"]

LIMIT_S = 4.0
WHERE = "BROKER_URL, or the add-on's variable"
EVICTION = "noeviction"
# Reads what was written, as a worker's script does.
ROUND_TRIP = "redis.call('SET', KEYS[1], ARGV[1], 'EX', 10) return redis.call('GET', KEYS[1])"


def check_broker(broker: Broker) -> Check:
    """Return the check ``broker``."""
    name = "broker"
    try:
        if broker.is_embedded:
            _write(Path(broker.transport_options["folder"]))
            return Check.ok(name, f"{broker.name}, for this machine alone")
        with connection_to(broker) as connection:
            connection.ensure_connection(errback=_give_up)
            if connection.transport.driver_type == "redis":
                return _redis(name, broker, connection.default_channel)
            _amqp(connection)
    except Exception as error:  # noqa: BLE001, each transport has errors of its own
        reason, fix = words_of(error, broker)
        return Check.fail(name, reason, fix)
    return Check.ok(name, f"{broker.name}: a message went there and came back")


def connection_to(broker: Broker) -> kombu.Connection:
    """Return a connection that gives up within seconds, not yet opened."""
    options: dict[str, Any] = {}
    if broker.url.startswith("redis"):
        options = {"socket_timeout": LIMIT_S, "socket_connect_timeout": LIMIT_S}
    impatient = replace(broker, transport_options={**broker.transport_options, **options})
    return impatient.connection(connect_timeout=LIMIT_S)


def _give_up(error: Exception, _: float) -> None:
    """Called by kombu before it tries again."""
    raise error


def _amqp(connection: kombu.Connection) -> None:
    channel: Any = connection.default_channel
    queue = kombu.Queue("", exclusive=True, auto_delete=True, durable=False)(channel)
    queue.declare()
    body = uuid.uuid4().hex
    kombu.Producer(channel).publish(body, routing_key=queue.name, exchange="", delivery_mode=1)
    # One channel keeps its order, so the message is there before the question for it.
    message = queue.get(no_ack=True)
    if message is None or message.payload != body:
        raise RoundTripError


def _redis(name: str, broker: Broker, channel: Any) -> Check:
    client, key, value = channel.client, f"dingtalk:check:{uuid.uuid4()}", uuid.uuid4().hex
    found = client.eval(ROUND_TRIP, 1, key, value)
    client.delete(key)
    if (found.decode() if isinstance(found, bytes) else found) != value:
        raise RoundTripError
    policy = client.info("memory").get("maxmemory_policy", EVICTION)
    if policy != EVICTION:
        return Check.warn(
            name,
            f"{broker.name} throws keys away when it is full (maxmemory-policy {policy})",
            f"set it to {EVICTION}, else messages are lost",
        )
    return Check.ok(name, f"{broker.name}: a value went there and came back")


def _write(folder: Path) -> None:
    """Write where the folder is, or will be; what is not there is not made."""
    nearest = next(each for each in (folder, *folder.parents) if each.exists())
    with tempfile.NamedTemporaryFile(dir=nearest, prefix=".check-") as file:
        file.write(b"written")
        file.flush()
        os.fsync(file.fileno())


class RoundTripError(Exception):
    """What came back is not what was sent."""


def words_of(error: BaseException, broker: Broker) -> tuple[str, str]:
    """Return what went wrong with the broker, and what to do; never its address with a password."""
    errors = [error]
    while (cause := errors[-1].__cause__ or errors[-1].__context__) and len(errors) < 8:
        errors.append(cause)
    if isinstance(error, RoundTripError):
        return f"{broker.name} forgot what was sent", "look at its disk and memory"
    if broker.is_embedded:
        why = next((e.strerror for e in errors if isinstance(e, OSError) and e.strerror), "")
        reason = f"{broker.name} cannot be used: {why or type(error).__name__}"
        return reason, "DATA_DIR must be a folder of this user"
    said = " ".join(f"{type(each).__name__} {each}" for each in errors).lower()
    for needles, reason, fix in _SAYINGS:
        if any(needle in said for needle in needles):
            return reason.format(at=broker.name), fix
    reason = f"{broker.name} cannot be used ({type(error).__name__})"
    return reason, f"look at it, and at {WHERE}"


_SCHEMES = "redis:// without TLS, rediss:// with, amqp(s):// for RabbitMQ"
_LOOK = f"is it running, and the address in {WHERE}?"
# What is found first counts. The needles are of the errors' names and texts, in lower case.
_SAYINGS = (
    (
        ("accessrefused", "authentication", "noauth", "wrongpass", "invalid username-password"),
        "{at} refused the login",
        f"correct user and password in {WHERE}",
    ),
    (
        ("notallowed",),
        "{at} has no such virtual host, or not for this user",
        f"correct the end of {WHERE}",
    ),
    (
        ("noperm", "nopermission"),
        "{at} does not let this user run what a worker runs",
        "give the user more rights",
    ),
    (
        ("db index is out of range",),
        "{at} has no database of this number",
        f"correct the number at the end of {WHERE}: 0 is always there, most have 0 to 15",
    ),
    (
        ("database is int",),
        "the database of {at} is no number",
        f"correct the end of {WHERE}: /0 is always there",
    ),
    (("lost its leader",), "{at} does not answer for a queue", "docs/reliability.md, RabbitMQ"),
    (
        ("readonly",),
        "{at} is a replica, which takes no writes",
        f"name the primary in {WHERE}",
    ),
    (("refused",), "cannot connect to {at}: connection refused", _LOOK),
    (
        ("gaierror", "name or service not known", "name resolution"),
        "cannot connect to {at}: its name is not known (DNS)",
        _LOOK,
    ),
    (("certificate",), "cannot connect to {at}: its TLS certificate is not trusted", _LOOK),
    (
        ("sslerror", "wrong version number"),
        "cannot connect to {at}: it does not speak our TLS",
        "is it a port with TLS? rediss:// and amqps:// speak it, redis:// and amqp:// do not",
    ),
    (
        ("timeout", "timed out"),
        "cannot connect to {at}: no answer in time",
        f"{_LOOK} or a wrong scheme: {_SCHEMES}",
    ),
    (("reset", "closed", "eof"), "cannot connect to {at}: it hung up", _LOOK),
    (("unreachable",), "cannot connect to {at}: the network does not lead there", _LOOK),
)
