"""Pure builders: what each child object looks like. No I/O."""
