"""From a file of names to examples: vocabulary, splits, and one stream of tokens, on which contexts are windows.

Also the download of the lecture's names.
"""
