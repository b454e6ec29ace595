"""Stands before pandas on the path of a served process, whose image has none: pyarrow imports it wherever it can.

No test imports it. Without it each server that captures takes half a second more to start than in its image.
"""

raise ImportError("the server's image has no pandas")
