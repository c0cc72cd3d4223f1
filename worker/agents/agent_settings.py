"""Settings of an agent's own: its prefix, its variables, judged at start like ours.

``worker/bots.py`` reads those of every bot's agent.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from worker.agents.base import AgentLoadError

__all__ = ["AgentSettings", "AgentSettingsError"]


class AgentSettingsError(AgentLoadError):
    """An agent's own settings are wrong; names every variable, one a line, and shows no value."""


# Of what a variable holds as JSON.
_MANY = frozenset({"list_type", "tuple_type", "set_type", "frozen_set_type", "dict_type"})


class _Undecoded(EnvSettingsSource):
    """Leaves what should be JSON and is none to be judged with all the other variables."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        try:
            return super().decode_complex_value(field_name, field, value)
        except (ValueError, RecursionError):
            return value


class _UndecodedFile(_Undecoded, DotEnvSettingsSource):
    """The same of ``.env``."""


class AgentSettings(BaseSettings):
    """What an agent reads: ``class WeatherSettings(AgentSettings, env_prefix="WEATHER_")``.

    Environment over ``.env`` over the table ``agent_settings`` of the TOML file; the same table of
    one bot wins for that bot.
    """

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    _last: ClassVar[Mapping[str, Any]] = {}

    if TYPE_CHECKING:

        def __init_subclass__(cls, *, env_prefix: str = "", **_: Any) -> None: ...

    @property
    def in_words(self) -> str:
        """What an agent with these settings asks, for the doctor; "" to say how it is called."""
        return ""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources, first wins."""
        table = InitSettingsSource(settings_cls, init_kwargs=dict(cls._last))
        env, file = _Undecoded(settings_cls), _UndecodedFile(settings_cls)
        return init_settings, env, file, table

    @classmethod
    def load(
        cls, *, first: Mapping[str, Any] | None = None, last: Mapping[str, Any] | None = None
    ) -> Self:
        """Read the settings.

        Args:
            first: By field name; wins over every source.
            last: By field name; every source wins over it.

        Raises:
            AgentSettingsError: Naming all that is wrong, one ``VARIABLE: reason`` a line; a name in
                ``first`` that no field has, too, as it would be without effect.
        """
        faults = [f"agent_settings.{name}: no such setting" for name in cls._unknown(first or {})]
        reading = type(cls.__name__, (cls,), {"_last": dict(last or {}), "__module__": __name__})
        values = dict[str, Any]()
        try:
            # By its iterator: a field called "keys" would have dict() take it for a mapping.
            values = dict(iter(reading(**(first or {}))))
        except ValidationError as error:
            found = error.errors(include_input=False, include_url=False)
            faults += [f"{cls._named(each['loc'])}{_words(each)}" for each in found]
        if faults:
            raise AgentSettingsError("\n".join(faults))
        made: Any = cls.model_construct(**values)
        return made  # type: ignore[no-any-return]

    @classmethod
    def _unknown(cls, given: Mapping[str, Any]) -> list[str]:
        """Return the names that are no field's, in order."""
        fields = cls.model_fields
        aliases = {field.alias for field in fields.values()}
        return [name for name in given if name not in fields and name not in aliases]

    @classmethod
    def _named(cls, loc: tuple[int | str, ...]) -> str:
        if not loc:
            return ""  # of the settings as a whole, which name the variables themselves
        name = str(loc[0])
        field = cls.model_fields.get(name)
        if field is None or field.validation_alias is not None:
            return f"{name}: "
        return f"{cls.model_config.get('env_prefix', '')}{name}: ".upper()


def _words(fault: Mapping[str, Any]) -> str:
    words = str(fault["msg"]).removeprefix("Value error, ")
    return f"{words}, as JSON in the environment" if fault["type"] in _MANY else words
