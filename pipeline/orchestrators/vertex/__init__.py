"""Vertex AI Pipelines: the DAG as TFX's KubeflowV2DagRunner writes it (docs/vertex.md). Needs the extra `kubeflow`."""
