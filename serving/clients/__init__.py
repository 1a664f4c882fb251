"""Clients in other languages, and what tools need to speak TensorFlow Serving's gRPC (docs/serving-clients.md)."""
