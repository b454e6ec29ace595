"""What the operator and the pods it starts agree on; pydantic only.

Both sides import these models, so an input the operator writes and a result a Job writes can never
disagree about a name. Nothing here does IO.
"""
