"""``celery -A worker chat``: a conversation in the terminal.

``worker/commands/chat.py`` begins one; ``session.py`` leads it, ``direct.py`` asks the agent
itself with the memory of ``remembering.py``, ``through.py`` the whole system by a simulated
DingTalk, ``screen.py`` shows what comes.
"""
