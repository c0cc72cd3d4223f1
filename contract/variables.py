"""The names of all variables that a process of ours reads, and names that were meant to be one.

The checks ask it (``contract/settings_checks.py``); ``tests/unit/test_packaging_variables.py``
compares the names with the settings classes of both processes, which know nothing of each other.
"""

import difflib
import os
from collections.abc import Collection

from dotenv import dotenv_values

__all__ = ["AGENT_VARIABLES", "ALIASES", "VARIABLES", "misspelled", "names_set"]

# Of the settings classes.
VARIABLES = frozenset(
    {
        *("DINGTALK_CLIENT_ID", "DINGTALK_CLIENT_SECRET", "DINGTALK_ALLOWED_USERS"),
        *("DINGTALK_BOTS", "DINGTALK_BOT_NAME", "DINGTALK_ROBOT_CODE"),
        *("DINGTALK_ALLOWED_GROUPS", "DINGTALK_GROUPS"),
        *("CARD_ACTION_HANDLER", "EVENT_HANDLER", "DENIED_NOTICE", "CHAT_COMMANDS", "COMMANDS"),
        *("DINGTALK_OPENAPI_ENDPOINT", "DINGTALK_WEBHOOK_HOSTS"),
        *("BROKER_URL", "STORE_URL", "CLOUDAMQP_URL", "DATABASE_URL", "REDIS_URL"),
        *("REDIS_TLS_URL", "DATA_DIR", "ENVELOPE_KEY", "LOG_FORMAT", "LOG_LEVEL"),
        *("AGENT", "AGENT_SETTINGS", "AGENT_TIMEOUT_S", "AGENT_RETRIES", "FAILED_NOTICE"),
        *("LATE_POLICY", "LATE_HANDOVER", "REPLY_WITHIN_S"),
        *("HISTORY_TURNS", "HISTORY_HOURS", "HISTORY_TOKENS", "HISTORY_BY"),
        "REPLY_AT_SENDER",
        *("LEASE_S", "SHUTDOWN_GRACE_S", "WORKER_POOL", "WORKER_CONCURRENCY"),
        *("ORDER", "BURST", "MAX_WAITING", "KEEP_MISSED_DAYS", "METRICS_PORT", "HEALTH_PORT"),
        *("ALERT_WEBHOOK", "ALERT_SECRET", "BOT_LANGUAGE", "BOT_WORDS"),
        *("DINGTALK_MEDIA_HOSTS", "MEDIA_MAX_MB", "MEDIA_TIMEOUT_S"),
        *("REPLIES_PER_MINUTE", "API_QPS", "API_BUDGET"),
        *("THINKING", "STILL_WORKING_S", "CARD_TEMPLATE_ID", "CARD_KEY", "CARD_EVERY_S"),
        *("CONNECTIONS", "CONNECTION_TTL_S", "SILENCE_LIMIT_S", "SPOOL_MAX_MB"),
    }
)

# Of the agents that come with the worker; each reads its own.
AGENT_VARIABLES = frozenset(
    {
        *("HTTP_AGENT_URL", "HTTP_AGENT_SECRET", "HTTP_AGENT_HEADERS", "HTTP_AGENT_FILES_MB"),
        "HTTP_AGENT_READS",
        *("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_MODEL", "OPENAI_TEMPERATURE"),
        *("OPENAI_SYSTEM_PROMPT", "OPENAI_SYSTEM_PROMPT_FILE", "OPENAI_STREAM"),
        *("OPENAI_MAX_TOKENS", "OPENAI_MAX_COMPLETION_TOKENS", "OPENAI_EXTRA_BODY"),
        *("OPENAI_PICTURES", "OPENAI_PICTURE_MAX_MB", "OPENAI_TEXT_FILE_KB"),
        *("OPENAI_TOOLS", "OPENAI_TOOL_STEPS", "OPENAI_RETRIES"),
    }
)

# Read elsewhere; docs/configuration.md, "Read by others".
_OTHERS = frozenset({"DINGTALK_CONFIG", "PORT", "RESULT_BACKEND"})

# What Celery itself reads before its configuration, and the listener does not.
ALIASES = {
    "CELERY_BROKER_URL": "BROKER_URL",
    "CELERY_BROKER_READ_URL": "BROKER_URL",
    "CELERY_BROKER_WRITE_URL": "BROKER_URL",
}

_PREFIX = "DINGTALK_"
# Shorter names are like too many others.
_SHORTEST = 6
_LIKENESS = 0.88


def names_set() -> frozenset[str]:
    """Return the names of what is set, and not empty, in the environment or in ``.env``.

    Without those of :data:`ALIASES` that say the same as ours: ``celery`` itself sets them.
    """
    own = dotenv_values(".env")
    echoes = {
        name for name, ours in ALIASES.items() if os.environ.get(name) == os.environ.get(ours)
    }
    found = {name for each in (os.environ, own) for name, value in each.items() if value}
    return frozenset(found - echoes)


def misspelled(names: Collection[str]) -> list[tuple[str, str | None]]:
    """Return what looks like a variable of ours and is none, each with what may be meant.

    A name that only resembles one, without our prefix, counts only while that one is not set.
    """
    found = []
    for name in sorted(set(names) - VARIABLES - AGENT_VARIABLES - _OTHERS):
        meant = _meant(name)
        if name.upper().startswith(_PREFIX) or (meant is not None and meant not in names):
            found.append((name, meant))
    return found


def _meant(name: str) -> str | None:
    if len(name) < _SHORTEST:
        return None
    upper = name.upper()
    for candidate in (upper, _PREFIX + upper):
        if candidate in VARIABLES:
            return candidate
    likeness = 0.8 if upper.startswith(_PREFIX) else _LIKENESS
    close = difflib.get_close_matches(upper, VARIABLES, n=1, cutoff=likeness)
    return close[0] if close else None
