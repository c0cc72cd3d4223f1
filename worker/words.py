"""What the bot says of its own accord, in the language of its people.

The texts are in ``words.toml``, each with its line here: a name that does not exist is seen by the
type checker, and a text that does not exist at the first import.
"""

from pathlib import Path
from typing import Literal

from worker.phrases import Filled, Language, Phrase, Spoken, Voice, phrases

# The names below are left out: the catalogue lists them.
__all__ = ["CATALOGUE", "Chosen", "Filled", "Language", "Phrase", "Spoken", "Voice"]

Chosen = Literal["auto", "zh", "en", "both"]
"""What ``BOT_LANGUAGE`` may be; ``auto`` is the language of the message."""

CATALOGUE = phrases(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))

THINKING = CATALOGUE["thinking"]
STILL_WORKING = CATALOGUE["still_working"]
N_MORE = CATALOGUE["n_more"]
AT_MOST_N_MORE = CATALOGUE["at_most_n_more"]
SECONDS = CATALOGUE["seconds"]
MINUTES = CATALOGUE["minutes"]
LATE = CATALOGUE["late"]
LATE_ANSWER = CATALOGUE["late_answer"]
CROWDED = CATALOGUE["crowded"]
UNSUPPORTED = CATALOGUE["unsupported"]
FAILED = CATALOGUE["failed"]
TOO_SLOW = CATALOGUE["too_slow"]
IN_THE_NEXT_MESSAGE = CATALOGUE["in_the_next_message"]
CARD_STOPPED = CATALOGUE["card_stopped"]
PICTURE = CATALOGUE["picture"]
FILE = CATALOGUE["file"]
VOICE = CATALOGUE["voice"]
VIDEO = CATALOGUE["video"]
DENIED_SENDER = CATALOGUE["denied_sender"]
DENIED_GROUP = CATALOGUE["denied_group"]
TEST_MESSAGE = CATALOGUE["test_message"]
NICK = CATALOGUE["nick"]
STAFF_ID = CATALOGUE["staff_id"]
CONVERSATION_ID = CATALOGUE["conversation_id"]
PRIVATE = CATALOGUE["private"]
GROUP = CATALOGUE["group"]
NOT_KNOWN = CATALOGUE["not_known"]
HELP_INTRODUCTION = CATALOGUE["help_introduction"]
HELP_HELP = CATALOGUE["help_help"]
HELP_WHOAMI = CATALOGUE["help_whoami"]
HELP_NEW = CATALOGUE["help_new"]
HELP_STOP = CATALOGUE["help_stop"]
HELP_STATUS = CATALOGUE["help_status"]
FORGOTTEN = CATALOGUE["forgotten"]
NOTHING_TO_FORGET = CATALOGUE["nothing_to_forget"]
STOPPED = CATALOGUE["stopped"]
NOTHING_TO_STOP = CATALOGUE["nothing_to_stop"]
STATUS_RUNNING = CATALOGUE["status_running"]
STATUS_WAITING = CATALOGUE["status_waiting"]
STATUS_MORE = CATALOGUE["status_more"]
STATUS_OTHERS = CATALOGUE["status_others"]
STATUS_NOTHING = CATALOGUE["status_nothing"]
