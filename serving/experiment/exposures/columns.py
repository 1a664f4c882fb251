"""The standard columns of an exposure log; docs/experiments.md says what is in them."""

REQUIRED_COLUMNS = ("request_time", "user_id", "variant", "click")
OPTIONAL_COLUMNS = ("request_id", "model_version", "propensity", "prediction", "latency_seconds", "error")
