"""Makes, loads and removes the kind cluster that people and the end-to-end tests both use.

Run as `python3 -m hack.cluster <verb>` from the top of the checkout. Nothing here is imported by
product code, and nothing outside the Python standard library is imported here: it has to work on a
machine where nothing has been installed yet.
"""
