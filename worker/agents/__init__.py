"""Agents: what one is, and those that come with the worker.

What an agent's author imports is named here; docs/agents.md tells the rest.
"""

from contract.content import Mention
from dingwire.errors import MediaError
from worker.agents.attachments import Attachment
from worker.agents.base import Message, Quoted, Sender

__all__ = ["Attachment", "MediaError", "Mention", "Message", "Quoted", "Sender"]
