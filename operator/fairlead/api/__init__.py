"""The five kinds as types, their names, conditions and CRDs; knows only the contract."""
