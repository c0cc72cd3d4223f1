"""The parts of a card's body: parameters, spaces and delivery models, each checked.

Pure; ``cards`` and ``clicks`` call it.
"""

from typing import Any, NoReturn

from dingwire.simulator.refusals import RefusedError

__all__ = [
    "changed_params",
    "checked_params",
    "deliver_model",
    "private_params",
    "refuse",
    "shown_text",
    "spaces",
]

MAX_KEY_BYTES = 100
SPACE_START = "dtv1.card//"
MODELS = {"IM_GROUP": "imGroupOpen", "IM_ROBOT": "imRobotOpen"}
NOT_SHOWN = frozenset({"flowStatus", "config", "sys_full_json_obj"})
USUAL_KEYS = ("content", "markdown", "msgContent", "text", "title")


def refuse(code: str, message: str = "") -> NoReturn:
    """Answer 400 with a code of the card API."""
    raise RefusedError(400, code, message or code)


def checked_params(data: Any, max_value: int) -> dict[str, str]:
    """``cardParamMap`` of a ``cardData``: text to text; values of ``max_value`` bytes, 0 any."""
    params = data.get("cardParamMap") if isinstance(data, dict) else None
    if not isinstance(params, dict):
        refuse("param.cardPublicDataEmpty")
    for name, value in params.items():
        if not isinstance(value, str) or len(name.encode()) > MAX_KEY_BYTES:
            refuse("param.invalid", f"cardParamMap.{name} is invalid")
        if 0 < max_value < len(value.encode()):
            refuse("param.invalid", f"cardParamMap.{name} is too long")
    return dict(params)


def private_params(body: dict[str, Any], max_value: int) -> dict[str, dict[str, str]]:
    """``privateData`` by staff id."""
    private = body.get("privateData") or {}
    if not isinstance(private, dict):
        refuse("param.invalid", "privateData is invalid")
    return {person: checked_params(data, max_value) for person, data in private.items()}


def changed_params(old: dict[str, str], new: dict[str, str], by_key: bool) -> dict[str, str]:
    """The map after an update; without ``by_key`` the new one replaces all of the old."""
    return {**old, **new} if by_key else dict(new)


def spaces(value: Any) -> list[tuple[str, str]]:
    """Kind and id of each space of an ``openSpaceId``."""
    if not value:
        refuse("param.openSpaceIdEmpty")
    found = []
    for each in str(value).split(";"):
        kind, dot, space_id = each.removeprefix(SPACE_START).partition(".")
        if not each.startswith(SPACE_START) or kind not in MODELS or not dot or not space_id:
            refuse("param.openSpaceIdInvalid")
        found.append((kind, space_id))
    return found


def deliver_model(body: dict[str, Any], kind: str, client_id: str) -> dict[str, Any]:
    """The delivery model of a kind of space; the space model must be there as well."""
    if not isinstance(body.get(MODELS[kind] + "SpaceModel"), dict):
        refuse("param.openSpaceModelInvalid")
    model = body.get(MODELS[kind] + "DeliverModel")
    if not isinstance(model, dict):
        refuse("param.openDeliverModelEmpty")
    robot = model.get("robotCode")
    is_wrong_robot = robot != client_id if kind == "IM_GROUP" else robot not in (None, client_id)
    if is_wrong_robot or (kind == "IM_ROBOT" and model.get("spaceType") != "IM_ROBOT"):
        refuse("param.openDeliverModelError")
    return model


def shown_text(params: dict[str, str], stream_key: str) -> str:
    """What people read on the card: the streamed text, else the usual variables, else all."""
    for name in (stream_key, *USUAL_KEYS):
        if name and params.get(name):
            return params[name]
    return "\n".join(value for name, value in params.items() if value and name not in NOT_SHOWN)
