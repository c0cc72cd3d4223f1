"""DingTalk's words: frames, messages, replies, the gateway, webhooks and the proactive API."""
