"""The interactive article: a page in the browser with the network behind it.

The server computes nothing of its own: whatever a visitor asks for is a call of the
library (:mod:`cawe_jax.playground.tasks`). ``cawe playground`` starts it.
"""
