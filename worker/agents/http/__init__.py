"""The agent that asks a server over HTTP, so that an agent may be written in any language.

``AGENT=worker.agents.http:agent``. The message goes there as JSON, signed; the reply comes
back as JSON, or as server-sent events that are shown as they come. The protocol is in
docs/included-agents.md.
"""

from worker.agents.http.asking import HttpAgent
from worker.agents.http.settings import HttpAgentSettings

__all__ = ["HttpAgent", "HttpAgentSettings", "agent"]

agent = HttpAgent
