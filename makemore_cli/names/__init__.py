"""From a file of names to batches: vocabulary, splits, one stream of tokens; contexts are windows on it.

The download of the lecture's names is here too.
"""
