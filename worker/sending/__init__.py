"""How an answer gets to its conversation: by which way, in what parts, how often, and when not."""
