"""The listener: holds the Stream connection and enqueues; no agent, no store, no celery."""
