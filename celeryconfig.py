"""The app both sides load."""
