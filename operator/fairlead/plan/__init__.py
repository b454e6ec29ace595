"""Pure decisions: a frozen snapshot and a time in, a Plan out. No IO, clock, randomness or logging."""
