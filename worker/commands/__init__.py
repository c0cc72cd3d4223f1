"""Operator commands: ``celery -A worker …``."""
