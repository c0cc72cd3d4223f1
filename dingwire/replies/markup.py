"""What an agent wrote as plain words, as the kind that shows it best."""

import re

from dingwire.replies.texts import Markdown, Text

__all__ = ["from_agent_text"]

# No alternative looks past the end of its line, or past where the next match may begin: one that
# does takes minutes on megabytes of blank lines or brackets, and stops every thread meanwhile.
_MARKUP = re.compile(
    r"""
    ^[ \t]{0,3}\#{1,6}[ \t]+\S      # heading
    | ^[ \t]*[-*+][ \t]+\S          # list
    | ^[ \t]*\d{1,3}\.[ \t]+\S      # numbered list
    | ^[ \t]{0,3}>[ \t]*\S          # quote
    | ^[ \t]*```                    # code block
    | ^[ \t]*\|.+\|[ \t\r]*$        # table
    | \*\*\S(?:[^*\n]*\S)?\*\*      # bold
    | `[^`\n]+`                     # code
    | \[[^\[\]\n]*\]\([^)\[\s]+\)   # link, picture
    """,
    re.MULTILINE | re.VERBOSE,
)


def from_agent_text(words: str) -> Text | Markdown:
    """Return what an agent wrote as Markdown when it holds markup, else as plain text.

    The text stays as it is, single line breaks included, although DingTalk tends to fold those in
    Markdown: inside a code block they must not be touched.

    Raises:
        InvalidReplyError: It is blank.
    """
    return Markdown(text=words) if _MARKUP.search(words) else Text(content=words)
