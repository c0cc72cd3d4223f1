"""The steps of a message's story in plain words; ``worker/commands/timeline.py`` asks for them.

They are told by ``worker/story.py``, the store and those who work on a message. One that this
release does not know is shown by its name and facts.
"""

from collections.abc import Callable
from typing import Any

from worker.agents.usage import usage_in_words
from worker.store import Step

__all__ = ["AT_WORK", "WAITING", "in_words"]

Facts = dict[str, Any]

# What is being done after a step, as long as the message is somebody's.
AT_WORK = {
    "taken": "with the agent",
    "taken_over": "with the agent",
    "agent_ended": "about to be sent",
    "command": "about to be sent",
    "declined": "about to be sent",
    "handler_ended": "about to update the card",
    "sending": "being sent",
    "finished": "being sent after all",
    "send_failed": "being sent after all",
    "sent": "being sent once more",
}
# And while it is nobody's.
WAITING = {
    "paced": "waits for its next attempt",
    "retried": "waits for its next attempt",
    "given_back": "waits for another worker",
    "rerun": "waits for a worker to run it anew",
}


def _received(facts: Facts) -> str:
    kind = facts.get("kind") or "message"
    if "conversation" not in facts and facts.get("kind"):  # a card button, or an event
        return f"received: {kind}"
    where = "a group" if facts.get("conversation") == "group" else "private"
    return f"received: {kind} in {where}"


def _sending(facts: Facts) -> str:
    part = f"part {facts.get('part')} of {facts.get('of')}" if facts.get("of") != 1 else "the reply"
    because = f" ({facts['because']})" if facts.get("because") else ""
    return f"sends {part} {_by(facts)}{because}"


def _by(facts: Facts) -> str:
    if facts.get("route") == "proactive":
        return "as a proactive message"
    if facts.get("route") == "card":
        return "by its card"
    of = facts.get("by_message_id")
    return f"by the webhook of message {of}" if of else "by webhook"


def _stopped(facts: Facts) -> str:
    by = facts.get("by_message_id")
    who = f"by message {by}" if by else f"by {facts.get('by', 'an operator')}"
    was = {
        "running": "while a worker had it",
        "waiting": "while it waited for its next attempt",
        "parked": "while it waited for its turn",
        "queued": "before a worker took it",
    }.get(str(facts.get("was")), "")
    doubt = "; a part of the answer was being posted, or may have arrived"
    return f"stopped {who}{', ' if was else ''}{was}{doubt if facts.get('in_doubt') else ''}"


def _agent_ended(facts: Facts) -> str:
    used = usage_in_words(facts.get("usage") or ())
    ended = f"agent ended after {facts.get('agent_s')} s: {facts.get('outcome')}"
    return f"{ended} ({used})" if used else ended


def _handler_ended(facts: Facts) -> str:
    return f"handler ended after {facts.get('handler_s')} s: {facts.get('outcome')}"


def _paced(facts: Facts) -> str:
    when = f"; again in {facts['retry_in_s']} s" if "retry_in_s" in facts else ""
    return f"put off, to post no faster than the limits allow{when}"


def _retried(facts: Facts) -> str:
    if "runs" in facts:
        return f"the agent asks for another run; in {facts.get('retry_in_s', 0)} s"
    which = f"attempt {facts['attempts']} " if facts.get("attempts") else ""
    when = f"; the next in {facts['retry_in_s']} s" if "retry_in_s" in facts else ""
    return f"{which}not delivered{_why(facts)}{when}"


def _finished(facts: Facts) -> str:
    how = [str(facts[name]) for name in ("outcome", "reason") if facts.get(name)]
    if facts.get("parts"):
        how.append(f"{facts['parts']} parts" if facts["parts"] != 1 else "1 part")
    words = ", ".join(how)
    return f"ended as {facts.get('state')}{': ' if words else ''}{words}{_why(facts)}"


def _why(facts: Facts) -> str:
    """Return errcode and detail, of which the detail mostly names the errcode, too."""
    detail, errcode = str(facts.get("detail") or ""), facts.get("errcode")
    why = [detail] if detail else []
    if errcode is not None and f"errcode {errcode}" not in detail:
        why.insert(0, f"errcode {errcode}")
    return f" ({', '.join(why)})" if why else ""


def _sent(facts: Facts) -> str:
    return f"sent after all by {facts.get('by', 'an operator')}, {_by(facts)}"


def _send_failed(facts: Facts) -> str:
    return f"{facts.get('by', 'an operator')} tried to send it after all{_why(facts)}"


def _handed_over(facts: Facts) -> str:
    return f"sent after all by the webhook of message {facts.get('by_message_id')}"


_IN_WORDS: dict[str, Callable[[Facts], str]] = {
    "received": _received,
    "spooled": lambda _: "written to the listener's spool: the broker was away",
    "enqueued": lambda _: "put on the broker",
    "taken": lambda facts: f"taken by {facts.get('owner')}",
    "taken_over": lambda facts: f"taken over by {facts.get('owner')}",
    "parked": lambda _: "waits for its turn: its conversation is busy",
    "merged": lambda facts: f"merged into the turn of message {facts.get('into')}",
    "stopped": _stopped,
    "agent_started": lambda _: "agent started",
    "said": lambda facts: f"the agent said something {_by(facts)}",
    "agent_ended": _agent_ended,
    "notice": lambda facts: f"the person is told {_by(facts)} that there is no answer",
    "command": lambda facts: f"the bot itself answers {facts.get('command')}",
    "declined": lambda facts: f"no agent reads {facts.get('kind')}; the person is told",
    "handler_ended": _handler_ended,
    "sending": _sending,
    "paced": _paced,
    "retried": _retried,
    "given_back": lambda _: "given back",
    "finished": _finished,
    "handed_over": _handed_over,
    "sent": _sent,
    "send_failed": _send_failed,
    "rerun": lambda _: "an operator had it run anew",
    "discarded": lambda _: "an operator discarded it",
}


def in_words(step: Step) -> str:
    """Say what happened."""
    if step.name in _IN_WORDS:
        return _IN_WORDS[step.name](step.facts)
    return " ".join([step.name, *(f"{name}={value}" for name, value in step.facts.items())])
