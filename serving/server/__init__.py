"""`hivemill serve`: a development server that speaks TensorFlow Serving's own protocol (docs/serving.md).

It reads the store's models.config, answers gRPC (PredictionService, ModelService) and REST, and changes versions
without failing a request. It exists for laptops, tests and the serving check; what serves users is
tensorflow_model_server. Requests run in TensorFlow sessions, as TensorFlow Serving's do; nothing of TFX is imported.
"""
