"""Kubeflow Pipelines: the DAG as containers (spec), its runs and its schedule (service). Needs the extra `kubeflow`."""
