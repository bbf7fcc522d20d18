"""Transport, watch cache, keyed queue, server-side apply, lease, events: the only layer that calls the API server."""
