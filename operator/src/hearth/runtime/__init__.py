"""The running operator: kopf shell, workers, metrics, probes, settings. The only layer that imports kopf."""
