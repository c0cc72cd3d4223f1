"""An agent for any OpenAI-compatible chat endpoint: ``AGENT=worker.agents.openai:agent``.

It is the agent when ``AGENT`` is unset and ``OPENAI_MODEL`` is not. Needs the extra ``openai``.
"""

from worker.agents.base import AgentLoadError

try:
    import openai as _openai  # noqa: F401, that it is there
except ModuleNotFoundError as error:
    if error.name != "openai":
        raise
    raise AgentLoadError(
        "worker.agents.openai needs the package openai: pip install 'celery-dingtalk[openai]'"
    ) from None

from worker.agents.openai.answering import OpenAIAgent as agent  # noqa: N813, as of every agent
from worker.agents.openai.settings import OpenAISettings

__all__ = ["OpenAISettings", "agent"]
