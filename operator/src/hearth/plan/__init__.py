"""Pure decisions: (resource, observed world, now) to actions and status. No I/O."""
