"""Measurement: latency of requests, quality of vectors, resources of the process."""
