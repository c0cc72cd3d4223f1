"""Our words: what the listener and the worker agree on, and nothing else.

A change here is a change of the contract between two processes that may run different versions
during a rolling deploy: a new field gets a default, a changed meaning a new ``version``, and
workers go out first.
"""
