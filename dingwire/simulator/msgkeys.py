"""What a proactive send carries: each ``msgKey``, what it demands, and what people see of it.

Pure; ``openapi`` calls it.
"""

import json
from typing import Any

from dingwire.simulator.filestore import FileStore
from dingwire.simulator.refusals import PARAMETER, RefusedError

__all__ = ["check_content", "parameters", "text_of"]

MAX_PARAM_BYTES = 15_000
MISSING = "miss.param."
FILE_TYPES = frozenset({"xlsx", "pdf", "zip", "rar", "doc", "docx"})

_CARD = {"title": "actionCardTotitle", "text": "actionCardTotext"}


def _buttons(count: int) -> dict[str, str]:
    numbered = range(1, count + 1)
    titles = {f"actionTitle{number}": "actionCardTobtnTitle" for number in numbered}
    return {
        **_CARD,
        **titles,
        **{f"actionURL{number}": "actionCardTobtnUrl" for number in numbered},
    }


# Each key's members, with the error (less its beginning) for the one that is missing. The names
# of some errors are cut off in what is known of them; those are filled in here.
REQUIRED: dict[str, dict[str, str]] = {
    "sampleText": {"content": "contentOfText"},
    "sampleMarkdown": {"title": "markdownTotitle", "text": "markdownTotext"},
    "sampleImageMsg": {"photoURL": "photoURL"},
    "sampleLink": {
        "title": "linkTotitle",
        "text": "linkTotext",
        "messageUrl": "linkTomessageUrl",
    },
    "sampleActionCard": {
        **_CARD,
        "singleTitle": "actionCardTosingleTitle",
        "singleURL": "actionCardTosingleURL",
    },
    **{f"sampleActionCard{count}": _buttons(count) for count in range(2, 6)},
    "sampleActionCard6": {
        **_CARD,
        **{f"buttonTitle{number}": "actionCardTobtnTitle" for number in (1, 2)},
        **{f"buttonUrl{number}": "actionCardTobtnUrl" for number in (1, 2)},
    },
    "sampleAudio": {"mediaId": "audio", "duration": "audio"},
    "sampleFile": {"mediaId": "file", "fileName": "file", "fileType": "file"},
    "sampleVideo": {
        "duration": "video",
        "videoMediaId": "video",
        "videoType": "video",
        "picMediaId": "video",
    },
}
MEDIA = ("mediaId", "videoMediaId", "picMediaId")
CHOICES = {"fileType": FILE_TYPES, "videoType": frozenset({"mp4"})}


def check_content(body: dict[str, Any], files: FileStore, *, image_by_media_id: bool) -> None:
    """Check ``msgKey`` and ``msgParam`` of a send.

    Raises:
        RefusedError: With the documented code of the first thing that is wrong.
    """
    key, raw = body.get("msgKey"), body.get("msgParam")
    if not key:
        raise RefusedError(400, PARAMETER + "msgKey.empty", "msgKey is empty")
    if not isinstance(key, str) or key not in REQUIRED:
        raise RefusedError(400, PARAMETER + "msgKey.invalid", "msgKey is invalid")
    param = parameters(body)
    if not param:
        raise RefusedError(400, PARAMETER + "msgParam.invalid", "msgParam is not JSON text")
    if len(str(raw).encode()) > MAX_PARAM_BYTES:
        raise RefusedError(400, PARAMETER + "msgParam.tooLong", "msgParam is over 15000 bytes")
    for name, code in REQUIRED[key].items():
        if not param.get(name):
            raise RefusedError(400, MISSING + code, f"{name} is missing")
    wrong = _wrong(param, files) or _wrong_photo(param, files, allowed=image_by_media_id)
    if wrong:
        raise RefusedError(400, PARAMETER + "param.invalid", f"{wrong} is invalid")


def parameters(body: dict[str, Any]) -> dict[str, Any]:
    """The object in ``msgParam``; empty when it is no JSON text of one."""
    raw = body.get("msgParam")
    try:
        param = json.loads(raw) if isinstance(raw, str) else None
    except ValueError:
        return {}
    return param if isinstance(param, dict) else {}


def text_of(body: dict[str, Any]) -> str:
    """The text people see; a file's name in brackets when there is none."""
    param = parameters(body)
    kind = str(body.get("msgKey")).removeprefix("sample").removesuffix("Msg").lower()
    shown = param.get("content", param.get("text"))
    return str(shown) if shown is not None else f"[{param.get('fileName', kind)}]"


def _wrong(param: dict[str, Any], files: FileStore) -> str | None:
    for name in MEDIA:
        if name in param and files.media(param[name]) is None:
            return name
    for name, allowed in CHOICES.items():
        if name in param and param[name] not in allowed:
            return name
    duration = param.get("duration", "0")
    return None if isinstance(duration, str) and duration.isdigit() else "duration"


def _wrong_photo(param: dict[str, Any], files: FileStore, *, allowed: bool) -> str | None:
    photo = param.get("photoURL")
    if photo is None or str(photo).startswith(("http://", "https://")):
        return None
    return None if allowed and files.media(photo) is not None else "photoURL"
