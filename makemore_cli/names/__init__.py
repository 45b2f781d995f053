"""From a file of names to examples: vocabulary, splits, one stream of tokens; contexts are windows on it.

The download of the lecture's names is here too.
"""
