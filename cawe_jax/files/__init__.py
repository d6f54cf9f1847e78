"""Files: images in, results out, and what is kept for the next time.

Nothing is imported here: the process that decodes images must not import JAX.
"""
