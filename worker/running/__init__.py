"""How ``celery -A worker worker`` runs here: process, pools, and what is done beside tasks."""
