"""`make demo`: the whole story of a model on a real cluster, told from status while real traffic flows."""
