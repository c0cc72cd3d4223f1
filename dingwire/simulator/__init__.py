"""DingTalk played on this machine; imports none of our models, so that it can disagree."""
