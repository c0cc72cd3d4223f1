"""What limits a goal that is missed, in a few words; docs/performance.md has the profiles.

By the beginning of a row's ``what``; the longest that fits.
"""

__all__ = ["limit_of"]

_LIMITS = {
    "listener: burst": "the frame, its JSON, the translation, the log line and the ack; "
    "publishing is a small part",
    "listener: 200": "not profiled; both wait for a quorum queue's confirm",
    "listener: resident memory": "what is imported",
    "listener: start": "what is imported",
    "50 messages/s": "two round trips to the store between frame and reply: claim, kept answer",
    "burst of": "processor time of a message, which no part stands out of; both cores are full",
    "store with": "the machine: no statement reads a whole table",
    "redelivery storm": "a copy's claim is a round trip, and it says so in log and Flower; "
    "the empty task does nothing",
    "500": "processor time of 500 starts and ends under one interpreter lock",
    "200": "processor time of 200 starts and ends under one interpreter lock",
}


def limit_of(what: str) -> str:
    """Return the words for a row; empty where there are none."""
    fitting = [begin for begin in _LIMITS if what.startswith(begin)]
    return _LIMITS[max(fitting, key=len)] if fitting else ""
