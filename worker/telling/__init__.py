"""What operators are told without asking a message's story: metrics, alerts, the backlog."""
