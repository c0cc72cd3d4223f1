"""Kinds that lead somewhere: a link, a card with buttons, a list of links with pictures.

DingTalk spells their addresses in four ways (``messageUrl``, ``messageURL``, ``singleURL``,
``actionURL``, ``picUrl``, ``picURL``); here they are ``url`` and ``picture``.
"""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from dingwire.replies.fields import Address, Model, PictureAddress, Words, check_size
from dingwire.replies.texts import Markdown, Mentioning, linked, under

__all__ = ["ActionCard", "Button", "FeedCard", "FeedLink", "Link"]

# The most that a proactive message has a form for; a webhook's limit is not documented.
MAX_BUTTONS = 5
MAX_LINKS = 20


class Link(Model):
    """A title, a few words and perhaps a picture that open ``url``."""

    kind: Literal["link"] = "link"
    title: Words = Field(repr=False)
    text: Words = Field(repr=False)
    url: Address = Field(repr=False)
    picture: PictureAddress | None = Field(default=None, repr=False)

    def for_webhook(self) -> dict[str, Any]:
        """Return the body of a post."""
        return {"msgtype": "link", "link": self._members()}

    def proactively(self) -> tuple[str, dict[str, Any]]:
        """Return ``msgKey`` and the members of ``msgParam``."""
        return "sampleLink", self._members()

    def _members(self) -> dict[str, Any]:
        picture = {"picUrl": self.picture} if self.picture else {}
        return {"title": self.title, "text": self.text, "messageUrl": self.url, **picture}

    def closest(self) -> Markdown:
        """Return what every way carries."""
        return Markdown(title=self.title, text=f"{linked(self.title, self.url)}\n\n{self.text}")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_size("a link", [self.for_webhook(), self.closest().for_webhook()])
        return self


class Button(Model):
    """A button of an :class:`ActionCard`."""

    title: Words = Field(repr=False)
    url: Address = Field(repr=False)


class ActionCard(Mentioning):
    """Markdown with one to five buttons below it; ``horizontal`` puts two side by side."""

    kind: Literal["action_card"] = "action_card"
    title: Words = Field(repr=False)
    text: Words = Field(repr=False)
    buttons: tuple[Button, ...] = Field(min_length=1, max_length=MAX_BUTTONS)
    horizontal: bool = False

    def for_webhook(self) -> dict[str, Any]:
        """Return the body of a post."""
        words = under(self.missing_mentions(self.text), self.text)
        card: dict[str, Any] = {"title": self.title, "text": words}
        if len(self.buttons) == 1:
            card |= {"singleTitle": self.buttons[0].title, "singleURL": self.buttons[0].url}
        else:
            card["btns"] = [{"title": b.title, "actionURL": b.url} for b in self.buttons]
        card["btnOrientation"] = "1" if self.horizontal else "0"
        return {"msgtype": "actionCard", "actionCard": card, **self.at()}

    def proactively(self) -> tuple[str, dict[str, Any]]:
        """Return ``msgKey`` and the members of ``msgParam``; only two buttons go side by side."""
        words = under(self.shown_addressee(), self.text)
        param: dict[str, Any] = {"title": self.title, "text": words}
        count = len(self.buttons)
        if count == 1:
            only = self.buttons[0]
            return "sampleActionCard", param | {"singleTitle": only.title, "singleURL": only.url}
        is_horizontal = self.horizontal and count == 2
        title, url = ("buttonTitle", "buttonUrl") if is_horizontal else ("actionTitle", "actionURL")
        for number, button in enumerate(self.buttons, start=1):
            param |= {f"{title}{number}": button.title, f"{url}{number}": button.url}
        return f"sampleActionCard{6 if is_horizontal else count}", param

    def closest(self) -> Markdown:
        """Return what every way carries."""
        links = " · ".join(linked(button.title, button.url) for button in self.buttons)
        return Markdown(
            title=self.title,
            text=f"{self.text}\n\n{links}",
            at_user_ids=self.at_user_ids,
            at_all=self.at_all,
            addressee=self.addressee,
        )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_size("an action card", [self.for_webhook(), self.closest().for_webhook()])
        return self


class FeedLink(Model):
    """A line of a :class:`FeedCard`."""

    title: Words = Field(repr=False)
    url: Address = Field(repr=False)
    picture: PictureAddress = Field(repr=False)


class FeedCard(Model):
    """A list of links with pictures; the first picture is large. Only webhooks carry it."""

    goes_proactively: ClassVar[bool] = False
    kind: Literal["feed_card"] = "feed_card"
    links: tuple[FeedLink, ...] = Field(min_length=1, max_length=MAX_LINKS)

    def for_webhook(self) -> dict[str, Any]:
        """Return the body of a post."""
        links = [
            {"title": each.title, "messageURL": each.url, "picURL": each.picture}
            for each in self.links
        ]
        return {"msgtype": "feedCard", "feedCard": {"links": links}}

    def proactively(self) -> tuple[str, dict[str, Any]]:
        """Return the form of what is closest to it."""
        return self.closest().proactively()

    def closest(self) -> Markdown:
        """Return what every way carries."""
        lines = [
            f"!{linked('', each.picture)}\n\n{linked(each.title, each.url)}" for each in self.links
        ]
        return Markdown(title=self.links[0].title, text="\n\n".join(lines))

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_size("a feed card", [self.for_webhook(), self.closest().for_webhook()])
        return self
