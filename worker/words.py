"""What the bot says of its own accord, in the language of its people.

``BOT_LANGUAGE`` chooses; with both, Chinese stands first. One line here for each thing it can say.
"""

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "AT_MOST_N_MORE",
    "CONVERSATION_ID",
    "CROWDED",
    "DENIED_GROUP",
    "DENIED_SENDER",
    "GROUP",
    "HELP_HELP",
    "HELP_INTRODUCTION",
    "HELP_WHOAMI",
    "IN_THE_NEXT_MESSAGE",
    "LATE",
    "NICK",
    "NOT_KNOWN",
    "N_MORE",
    "PRIVATE",
    "STAFF_ID",
    "STILL_WORKING",
    "THINKING",
    "UNSUPPORTED",
    "Language",
    "Phrase",
]

Language = Literal["zh", "en", "both"]


@dataclass(frozen=True)
class Phrase:
    """The same thing in both languages; ``{names}`` in it are filled in."""

    zh: str
    en: str

    def in_(self, language: Language, **values: object) -> str:
        """Return it as it is said."""
        if language == "both":
            return f"{self.zh} · {self.en}".format(**values)
        return (self.zh if language == "zh" else self.en).format(**values)


THINKING = Phrase("收到，正在思考…", "Got it, thinking…")
STILL_WORKING = Phrase("还在处理，请稍候", "Still working on it")
N_MORE = Phrase("还在处理，大约还要{zh}", "Still working on it, about {en} more")
AT_MOST_N_MORE = Phrase("还在处理，最多还要{zh}", "Still working on it, {en} more at most")
LATE = Phrase("抱歉让您久等了", "Sorry for the wait")
CROWDED = Phrase(
    "前面还有消息在处理，这一条没有排上队，请稍后再发",
    "Still busy with your earlier messages: please send this one again later",
)
UNSUPPORTED = Phrase(
    "抱歉，我还看不懂这类消息，请用文字、图片、语音或文件发给我",
    "Sorry, I cannot read this kind of message: please send text, a picture, voice or a file",
)
IN_THE_NEXT_MESSAGE = Phrase("完整回复见下一条消息", "The whole reply is in the next message")
DENIED_SENDER = Phrase(
    "您还不能使用这个机器人。您的员工 id 是 {staff_id}，请把它发给管理员申请开通",
    "You may not use this bot yet. Your staff id is {staff_id}: ask its administrator for access",
)
DENIED_GROUP = Phrase(
    "这个群还不能使用这个机器人。群的会话 id 是 {conversation_id}，您的员工 id 是 {staff_id}，"
    "请把它们发给管理员申请开通",
    "This group may not use this bot yet. Its conversation id is {conversation_id}, your staff id "
    "is {staff_id}: ask the bot's administrator for access",
)
NICK = Phrase("昵称", "nick")
STAFF_ID = Phrase("员工 id", "staff id")
CONVERSATION_ID = Phrase("会话 id", "conversation id")
PRIVATE = Phrase("单聊", "private")
GROUP = Phrase("群聊", "group")
NOT_KNOWN = Phrase("未知", "not known")
HELP_INTRODUCTION = Phrase("我自己能回答这些命令：", "I answer these commands myself:")
HELP_HELP = Phrase("列出可以用的命令", "list the commands there are")
HELP_WHOAMI = Phrase(
    "您的员工 id 和这个会话的 id", "your staff id, and the id of this conversation"
)
