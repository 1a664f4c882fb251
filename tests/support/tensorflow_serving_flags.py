"""The flags of tensorflow_model_server 2.20, read in its main.cc, and what is wrong with a command line of it.

The server itself is no judge: it prints `unknown argument` for a flag that it does not know, and serves without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_TEXTS = """batching_parameters_file grpc_channel_arguments grpc_socket_path mixed_precision model_base_path
    model_config_file model_name monitoring_config_file platform_config_file saved_model_tags ssl_config_file
    tensorflow_session_config_file thread_pool_factory_config_file"""
_WHOLE_NUMBERS = """file_system_poll_wait_seconds grpc_max_threads load_retry_interval_micros max_num_load_retries
    model_config_file_poll_wait_seconds num_load_threads num_request_iterations_for_warmup num_tflite_pools
    num_tflite_interpreters_per_pool num_unload_threads port rest_api_num_threads rest_api_port rest_api_timeout_in_ms
    tensorflow_inter_op_parallelism tensorflow_intra_op_parallelism tensorflow_session_parallelism"""
_NUMBERS = "per_process_gpu_memory_fraction"
_SWITCHES = """allow_version_labels_for_unavailable_models enable_batching enable_grpc_healthcheck_service
    enable_model_warmup enable_per_model_batching_parameters enable_profiler enable_serialization_as_tensor_content
    enable_signature_method_name_check flush_filesystem_caches prefer_tflite_model
    remove_unused_fields_from_bundle_metagraph rest_api_enable_cors_support skip_initialize_tpu use_alts_credentials
    version xla_cpu_compilation_enabled xla_gpu_compilation_enabled"""
FLAGS: dict[str, type] = {
    name: kind
    for kind, names in ((str, _TEXTS), (int, _WHOLE_NUMBERS), (float, _NUMBERS), (bool, _SWITCHES))
    for name in names.split()
}
_DEFAULTS = {"port": 8500, "rest_api_port": 0}


def mistakes(words: Sequence[str]) -> Iterator[str]:
    """What the server would refuse or, worse, pass over in its arguments (without the program's own name)."""
    given: dict[str, object] = dict(_DEFAULTS)
    for word in words:
        name, equals, text = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name not in FLAGS:
            yield f"unknown argument: {word}"
        elif (value := _value(FLAGS[name], text if equals else None)) is None:
            yield f"{word}: no {FLAGS[name].__name__} is given as --{name}=VALUE"
        elif name in given and name not in _DEFAULTS:
            yield f"--{name} is given twice"
        else:
            given[name] = value
    yield from _together(given)


def _value(kind: type, text: str | None) -> object | None:
    """None where TensorFlow's parser of flags does not take the text."""
    if kind is bool:
        return {None: True, "true": True, "false": False}.get(text)
    try:
        return None if text is None else kind(text)
    except ValueError:
        return None


def _together(given: dict[str, object]) -> Iterator[str]:
    """What Server::BuildAndStart refuses, or leaves out with a line in its log."""
    if given.get("version"):
        return
    if not (given["port"] or given.get("grpc_socket_path")):
        yield "neither a port nor a socket"
    if given["rest_api_port"] and given["rest_api_port"] == given["port"]:
        yield "REST and gRPC at one port: REST is left out"
    if not (given.get("model_base_path") or given.get("model_config_file")):
        yield "neither --model_base_path nor --model_config_file"
    if given.get("batching_parameters_file") and not given.get("enable_batching"):
        yield "--batching_parameters_file without --enable_batching"
    if given.get("monitoring_config_file") and not given["rest_api_port"]:
        yield "--monitoring_config_file without --rest_api_port"
    if given.get("model_config_file_poll_wait_seconds") and not given.get("model_config_file"):
        yield "--model_config_file_poll_wait_seconds without --model_config_file"
