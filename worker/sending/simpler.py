"""What is sent in place of what cannot be, with the bot's words for it."""

from dingwire.replies import Audio, File, Image, Markdown, Reply, Text, Video
from worker import words
from worker.words import Language, Phrase

__all__ = ["simpler"]


def simpler(reply: Reply, language: Language) -> Text | Markdown:
    """Return the closest to ``reply`` that every way carries."""
    match reply:
        case Image():
            return reply.closest(words.PICTURE.in_(language, name=reply.name).strip())
        case File():
            return reply.closest(words.FILE.in_(language, name=reply.name).strip())
        case Audio():
            return reply.closest(_lasting(words.VOICE, reply, language))
        case Video():
            return reply.closest(_lasting(words.VIDEO, reply, language))
        case _:
            return reply.closest()


def _lasting(phrase: Phrase, reply: Audio | Video, language: Language) -> str:
    how_long = words.SECONDS.with_(n=f"{reply.duration_s:g}")
    return phrase.in_(language, how_long=how_long, name=reply.name).strip()
