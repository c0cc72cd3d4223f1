"""A text in both languages; and how files of such texts are read and judged.

``worker/words.py`` reads the catalogue with it, ``worker/settings.py`` the file of one's own words
that ``BOT_WORDS`` names.
"""

import difflib
import string
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

__all__ = ["Filled", "Language", "OwnWords", "Phrase", "Spoken", "Voice", "phrases"]

Spoken = Literal["zh", "en", "both"]
"""What is said: Chinese, English, or one after the other."""

_FORMS = ("zh", "en", "both")
_MOST_CHARS = 500
# These stand before an answer, whose parts leave room for so much.
_NOTES = frozenset({"late", "late_answer"})
_MOST_NOTE_CHARS = 120


@dataclass(frozen=True)
class Phrase:
    """The same thing in both languages; ``{names}`` in it are filled in.

    ``both`` is for where one after the other would say something twice. ``key`` is its name in the
    catalogue; what has none cannot be said otherwise by ``BOT_WORDS``.
    """

    zh: str
    en: str
    both: str = ""
    key: str = ""

    def in_(self, language: "Language", **values: object) -> str:
        """Return it as it is said; a value that is a phrase, too, is said in the same language."""
        voice = language if isinstance(language, Voice) else Voice(language)
        said = voice.instead.get(self.key, self) if self.key else self
        if voice.spoken == "zh":
            return _filled(said.zh, voice, values)
        if voice.spoken == "en":
            return _filled(said.en, voice, values)
        if said.both:
            return _filled(said.both, voice, values)
        zh = _filled(said.zh, replace(voice, spoken="zh"), values)
        en = _filled(said.en, replace(voice, spoken="en"), values)
        return f"{zh}\n{en}" if "\n" in zh + en else f"{zh} · {en}"

    def with_(self, **values: object) -> "Filled":
        """Return it with its values, to be a value of another phrase."""
        return Filled(self, values)

    @property
    def placeholders(self) -> frozenset[str]:
        """The names that are filled in."""
        return frozenset(name for text in (self.zh, self.en, self.both) for name in _names(text))


@dataclass(frozen=True)
class Filled:
    """A phrase with its values."""

    phrase: Phrase
    values: Mapping[str, object]

    def in_(self, language: "Language") -> str:
        """Return it as it is said."""
        return self.phrase.in_(language, **self.values)


@dataclass(frozen=True)
class Voice:
    """How a bot with words of its own speaks; ``instead`` holds these by their keys."""

    spoken: Spoken
    instead: Mapping[str, Phrase] = field(default_factory=dict)


Language = Spoken | Voice
"""What a phrase is said in: a language, in the catalogue's words or in some of the bot's own."""


def _filled(text: str, voice: Voice, values: Mapping[str, object]) -> str:
    said = {
        name: value.in_(voice) if isinstance(value, Phrase | Filled) else value
        for name, value in values.items()
    }
    return text.format(**said)


def _names(text: str) -> Iterator[str]:
    """Yield the placeholders.

    Raises:
        ValueError: One is not plainly a name in braces.
    """
    for _, name, spec, conversion in string.Formatter().parse(text):
        if name is None:
            continue
        if not name.isidentifier() or spec or conversion:
            raise ValueError(f"a placeholder is a name in braces, not {{{name}}}")
        yield name


def phrases(text: str) -> dict[str, Phrase]:
    """Read a catalogue.

    Raises:
        ValueError: It is none.
    """
    return {key: Phrase(**each, key=key) for key, each in tomllib.loads(text).items()}


@dataclass(frozen=True)
class OwnWords:
    """The texts of one file, by their keys; what a bot says in place of the catalogue's."""

    file: str
    phrases: Mapping[str, Phrase] = field(repr=False)

    @classmethod
    def read(cls, file: str, catalogue: Mapping[str, Phrase]) -> Self:
        """Read a file of them.

        Raises:
            ValueError: Naming all that is wrong with it.
        """
        try:
            table = tomllib.loads(Path(file).read_text(encoding="utf-8"))
        except OSError as error:
            raise ValueError(f"{file}: {error.strerror}") from None
        except ValueError as error:  # not UTF-8, too
            is_toml = isinstance(error, tomllib.TOMLDecodeError)
            raise ValueError(f"{file}: {error if is_toml else 'not UTF-8 text'}") from None
        faults = [fault for key, own in table.items() for fault in _faults(key, own, catalogue)]
        if faults:
            raise ValueError(f"{file}: {'; '.join(faults)}")
        return cls(file, {key: _instead(catalogue[key], own) for key, own in table.items()})


def _instead(phrase: Phrase, own: Mapping[str, str]) -> Phrase:
    """Return the phrase as the file has it; a text of both languages is made of the new ones."""
    return replace(phrase, **({"both": ""} | dict(own)))


def _faults(key: str, own: Any, catalogue: Mapping[str, Phrase]) -> Iterator[str]:
    if key not in catalogue:
        yield f"{key}: no such text{_meant(key, catalogue)}"
    elif not isinstance(own, dict):
        yield f"{key}: write a table [{key}] with zh, en or both of them"
    else:
        for form, text in own.items():
            if form not in _FORMS:
                yield f"{key}.{form}: no such language{_meant(form, _FORMS)}"
            elif fault := _fault(text, catalogue[key]):
                yield f"{key}.{form}: {fault}"


def _fault(text: Any, phrase: Phrase) -> str:
    """Return what is wrong with one text; empty when nothing is."""
    if not isinstance(text, str) or not text.strip():
        return "must be a text that says something"
    most = _MOST_NOTE_CHARS if phrase.key in _NOTES else _MOST_CHARS
    if len(text) > most:
        return f"has {len(text)} characters, {most} at most"
    try:
        unknown = sorted(set(_names(text)) - phrase.placeholders)
    except ValueError as error:
        return str(error)
    if unknown:
        return f"no placeholder {{{unknown[0]}}} here{_meant(unknown[0], phrase.placeholders)}"
    return ""


def _meant(name: str, known: Mapping[str, Phrase] | frozenset[str] | tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]}?"
    few = 5
    return f": {', '.join(sorted(known))}" if 0 < len(known) <= few else ""
