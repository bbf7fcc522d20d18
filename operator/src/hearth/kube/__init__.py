"""The API server: transport, watch cache, keyed queue, server-side apply, lease, events. No other layer speaks HTTP to it."""
