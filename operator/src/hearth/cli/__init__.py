"""The `hearth` command, also installed as `kubectl hearth`."""
