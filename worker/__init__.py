"""The worker: runs the agent and delivers its answer before the webhook dies."""
