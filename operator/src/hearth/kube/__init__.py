"""The Kubernetes side: transport, watch cache, keyed queue, server-side apply, lease, events. The only layer that speaks HTTP to the API server."""
