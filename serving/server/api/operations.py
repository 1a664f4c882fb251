"""What can be asked, whatever the protocol: TensorFlow Serving's requests to its responses.

Codes and texts of errors are TensorFlow Serving's where it has them, so that a client meets the same here and there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import grpc
import numpy as np
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    input_pb2,
    model_pb2,
    predict_pb2,
    prediction_log_pb2,
    regression_pb2,
)

from hivemill.serving.server.api import tensors
from hivemill.serving.server.api.errors import ServingError, failed_precondition, invalid
from hivemill.serving.server.loading.models import Lease, Models
from hivemill.serving.server.loading.saved_model import DEFAULT_SIGNATURE, Tensors, check_feeds, dense_outputs
from hivemill.serving.server.loading.servable import Servable, warmup_requests

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
SIGNATURE_FIELD = "signature_def"
_INPUTS, _CLASSES, _SCORES, _OUTPUTS = "inputs", "classes", "scores", "outputs"


class Operations:
    """One method for each request. `timeout` is what is left of the client's deadline in seconds, None for none.

    Each gives (response, version that answered) and raises ServingError.
    """

    def __init__(self, models: Models, max_bytes: int):
        self._models, self.max_bytes = models, max_bytes

    def predict(
        self, request: predict_pb2.PredictRequest, timeout: float | None = None
    ) -> tuple[predict_pb2.PredictResponse, int]:
        _check_spec(request)
        with self._models.lease(request.model_spec) as lease:
            return predict(lease, request, self.max_bytes, timeout), lease.version

    def predict_arrays(
        self, spec: model_pb2.ModelSpec, feeds: Mapping[str, np.ndarray], timeout: float | None = None
    ) -> tuple[Tensors, int]:
        """`predict` for inputs that are arrays already, as REST's are: all outputs by alias."""
        with self._models.lease(spec) as lease:
            name, signature = _predict_signature(lease, spec)
            _check_inputs(signature, feeds)
            outputs = _wanted_outputs(signature, ())
            check_feeds(signature, feeds)
            found = lease.servable.run(name, feeds, timeout)
            return {alias: found[alias] for alias in outputs}, lease.version

    def classify(
        self, request: classification_pb2.ClassificationRequest, timeout: float | None = None
    ) -> tuple[classification_pb2.ClassificationResponse, int]:
        return self._of_examples(request, classification_pb2.ClassificationResponse, _classify, timeout)

    def regress(
        self, request: regression_pb2.RegressionRequest, timeout: float | None = None
    ) -> tuple[regression_pb2.RegressionResponse, int]:
        return self._of_examples(request, regression_pb2.RegressionResponse, _regress, timeout)

    def _of_examples(
        self, request: Any, response_type: type, ask: Callable[..., Any], timeout: float | None
    ) -> tuple[Any, int]:
        _check_spec(request)
        with self._models.lease(request.model_spec) as lease:
            name = _signature_name(request.model_spec)
            response = response_type(model_spec=_spec(lease, request.model_spec))
            response.result.CopyFrom(ask(lease.servable, name, self._examples(request.input), timeout))
            return response, lease.version

    def multi_inference(
        self, request: inference_pb2.MultiInferenceRequest, timeout: float | None = None
    ) -> tuple[inference_pb2.MultiInferenceResponse, int]:
        _check_tasks(request)
        with self._models.lease(request.tasks[0].model_spec) as lease:
            return multi_inference(lease, request, self.max_bytes, timeout), lease.version

    def metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, _: float | None = None
    ) -> tuple[get_model_metadata_pb2.GetModelMetadataResponse, int]:
        _check_spec(request)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != SIGNATURE_FIELD:
                raise invalid(f"Metadata field {field} is not supported")
        with self._models.lease(request.model_spec) as lease:
            signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=lease.servable.signatures)
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            response.model_spec.name = lease.model
            response.model_spec.version.value = lease.version
            response.metadata[SIGNATURE_FIELD].Pack(signatures)
            return response, lease.version

    def status(
        self, request: get_model_status_pb2.GetModelStatusRequest, _: float | None = None
    ) -> tuple[get_model_status_pb2.GetModelStatusResponse, None]:
        _check_spec(request)
        found = self._models.statuses(request.model_spec)
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=found), None

    def models(self) -> list[str]:
        """The names of the models that the config asks for."""
        return sorted(self._models.targets())

    def known(self, model: str) -> str:
        """`model` where the config has it, else "": what a request says must not become a metric's label."""
        return model if model in self._models.targets() else ""

    def check_takes_examples(self, spec: model_pb2.ModelSpec, kind: str) -> None:
        """Before REST makes Examples of JSON. Raises ServingError where `spec`'s signature takes none."""
        with self._models.lease(spec) as lease:
            _check_takes_examples(_signature(lease.servable, _signature_name(spec)), kind)

    def _examples(self, given: input_pb2.Input) -> Examples:
        return Examples(given, self.max_bytes)

    def inputs_of(self, spec: model_pb2.ModelSpec) -> Mapping[str, meta_graph_pb2.TensorInfo]:
        """The inputs of the signature that `spec` names, which REST needs to read JSON by."""
        name = _signature_name(spec)
        with self._models.lease(spec) as lease:
            if name not in lease.servable.signatures:
                raise invalid(f'Serving signature name: "{name}" not found in signature def')
            return lease.servable.signatures[name].inputs


def warm_up(model: str, version: int, servable: Servable, max_bytes: int) -> int:
    """Plays the version's own warm-up requests; a version whose requests fail must not serve. Returns their number."""
    lease, number = Lease(model, version, servable), 0
    for record in warmup_requests(servable.path):
        log = prediction_log_pb2.PredictionLog.FromString(record)
        kind = log.WhichOneof("log_type")
        if kind == "predict_log":
            predict(lease, log.predict_log.request, max_bytes, None)
        elif kind == "classify_log":
            request = log.classify_log.request
            _classify(servable, _signature_name(request.model_spec), Examples(request.input, max_bytes), None)
        elif kind == "regress_log":
            request = log.regress_log.request
            _regress(servable, _signature_name(request.model_spec), Examples(request.input, max_bytes), None)
        elif kind == "multi_inference_log":
            multi_inference(lease, log.multi_inference_log.request, max_bytes, None)
        else:
            raise failed_precondition(f"warm-up request {number + 1}: log_type {kind!r} is not supported")
        number += 1
    return number


def predict(
    lease: Lease, request: predict_pb2.PredictRequest, max_bytes: int, timeout: float | None
) -> predict_pb2.PredictResponse:
    name, signature = _predict_signature(lease, request.model_spec)
    _check_inputs(signature, request.inputs)
    wanted = _wanted_outputs(signature, request.output_filter)
    given = {**{alias: signature.defaults[alias] for alias in signature.defaults}, **request.inputs}
    tensors.check_size(given, max_bytes)
    feeds = {alias: tensors.to_array(alias, proto, max_bytes) for alias, proto in given.items()}
    check_feeds(signature, feeds)
    outputs = lease.servable.run(name, feeds, timeout)
    response = predict_pb2.PredictResponse(model_spec=_spec(lease, request.model_spec))
    for alias in wanted:
        response.outputs[alias].CopyFrom(tensors.to_proto(outputs[alias]))
    return response


def _predict_signature(lease: Lease, spec: model_pb2.ModelSpec) -> tuple[str, meta_graph_pb2.SignatureDef]:
    name = _signature_name(spec)
    signature = lease.servable.signatures.get(name)
    if signature is None:
        raise failed_precondition(f'Serving signature key "{name}" not found.')
    return name, signature


def multi_inference(
    lease: Lease, request: inference_pb2.MultiInferenceRequest, max_bytes: int, timeout: float | None
) -> inference_pb2.MultiInferenceResponse:
    examples = Examples(request.input, max_bytes)
    response = inference_pb2.MultiInferenceResponse()
    for task in request.tasks:
        name = _signature_name(task.model_spec)
        if name not in lease.servable.signatures:
            raise invalid(f"Requested signature not found in model graph: {name}")
        result = response.results.add(model_spec=_spec(lease, task.model_spec))
        if task.method_name == CLASSIFY:
            result.classification_result.CopyFrom(_classify(lease.servable, name, examples, timeout))
        else:
            result.regression_result.CopyFrom(_regress(lease.servable, name, examples, timeout))
    return response


class Examples:
    """The tf.Examples of a request, serialised only when the signature has been found to take them.

    The context's features stand in each of them, so a small request can stand for a large one: the size is checked
    before it is taken.
    """

    def __init__(self, given: input_pb2.Input, max_bytes: int):
        self._given, self._max_bytes = given, max_bytes
        self._array: np.ndarray | None = None

    def array(self) -> np.ndarray:
        """bytes [examples]. Raises ServingError."""
        if self._array is None:
            context, examples = self._parts()
            self._check_size(len(context), examples)
            self._array = np.empty(len(examples), object)
            self._array[:] = [context + example.SerializeToString() for example in examples]
        return self._array

    def _parts(self) -> tuple[bytes, Sequence[Any]]:
        kind = self._given.WhichOneof("kind")
        context, examples = b"", ()
        if kind == "example_list":
            examples = self._given.example_list.examples
        elif kind == "example_list_with_context":
            examples = self._given.example_list_with_context.examples
            context = self._given.example_list_with_context.context.SerializeToString()
        if not len(examples):
            raise invalid("Input is empty.")
        return context, examples

    def _check_size(self, context_bytes: int, examples: Sequence[Any]) -> None:
        fixed = len(examples) * (context_bytes + tensors.STRING_BYTES)
        if fixed > self._max_bytes or fixed + self._given.ByteSize() > self._max_bytes:
            raise invalid(
                f"the {len(examples)} examples with {context_bytes} bytes of context each stand for more than "
                f"{self._max_bytes} bytes"
            )


def _classify(
    servable: Servable, name: str, examples: Examples, timeout: float | None
) -> classification_pb2.ClassificationResult:
    signature = _signature(servable, name)
    if not 1 <= len(signature.outputs) <= 2:
        raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    outputs, size = _run_examples(servable, name, signature, examples, timeout, "classification")
    if _CLASSES not in outputs and _SCORES not in outputs:
        raise invalid(
            f'Expected classification signature outputs to contain at least one of "{_CLASSES}" or "{_SCORES}". '
            f"Signature was: {sorted(outputs)}"
        )
    rows = [_matrix(alias, outputs, size) for alias in (_CLASSES, _SCORES)]
    classes, scores = rows
    width = len((classes or scores or [[]])[0])
    if classes and scores and len(scores[0]) != width:
        raise invalid(f"Tensors class and score should match in dim_size(1). Got {width} vs. {len(scores[0])}")
    result = classification_pb2.ClassificationResult()
    for row in range(size):
        one = result.classifications.add()
        for column in range(width):
            label = classes[row][column].decode("utf-8", "replace") if classes else ""
            one.classes.add(label=label, score=scores[row][column] if scores else 0.0)
    return result


def _matrix(alias: str, outputs: Tensors, rows: int) -> list[list[Any]] | None:
    if alias not in outputs:
        return None
    value = outputs[alias]
    if value.ndim != 2:
        raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {list(value.shape)}")
    wanted = np.dtype(object) if alias == _CLASSES else np.dtype(np.float32)
    if value.dtype != wanted:
        raise invalid(
            f"Expected {alias} Tensor of {'DT_STRING' if alias == _CLASSES else 'DT_FLOAT'}. Got: {value.dtype}"
        )
    if len(value) != rows:
        raise invalid(f"Expected {alias} output batch size of {rows}. Got: {len(value)}")
    return value.tolist()


def _regress(
    servable: Servable, name: str, examples: Examples, timeout: float | None
) -> regression_pb2.RegressionResult:
    signature = _signature(servable, name)
    if len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    outputs, size = _run_examples(servable, name, signature, examples, timeout, "regression")
    if _OUTPUTS not in outputs:
        raise invalid(f"No regression outputs found in SignatureDef: {sorted(outputs)}")
    value = outputs[_OUTPUTS]
    if not (value.ndim == 1 or (value.ndim == 2 and value.shape[1] == 1)):
        raise invalid(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {list(value.shape)}"
        )
    if value.dtype != np.float32:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {value.dtype}")
    if len(value) != size:
        raise invalid(f"Input batch size did not match output batch size: {size} vs. {len(value)}")
    return regression_pb2.RegressionResult(
        regressions=[regression_pb2.Regression(value=one) for one in value.ravel().tolist()]
    )


def _run_examples(
    servable: Servable,
    name: str,
    signature: meta_graph_pb2.SignatureDef,
    examples: Examples,
    timeout: float | None,
    kind: str,
) -> tuple[Tensors, int]:
    _check_takes_examples(signature, kind)
    feeds = {_INPUTS: examples.array()}
    check_feeds(signature, feeds)
    return servable.run(name, feeds, timeout), len(feeds[_INPUTS])


def _check_takes_examples(signature: meta_graph_pb2.SignatureDef, kind: str) -> None:
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if _INPUTS not in signature.inputs:
        raise invalid(f"No {kind} inputs found in SignatureDef: {sorted(signature.inputs)}")


def _signature(servable: Servable, name: str) -> meta_graph_pb2.SignatureDef:
    if name not in servable.signatures:
        raise invalid(f"No signature was found with the name: {name}")
    return servable.signatures[name]


def _check_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")


def _check_tasks(request: inference_pb2.MultiInferenceRequest) -> None:
    if not request.tasks:
        raise invalid("MultiInferenceRequest has no tasks.")
    if any(not task.model_spec.name for task in request.tasks):
        raise invalid("Found ModelSpec with an empty model name.")
    if len({task.model_spec.name for task in request.tasks}) > 1:
        raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
    seen = set()
    for task in request.tasks:
        name = _signature_name(task.model_spec)
        if name in seen:
            raise invalid(f"Duplicate evaluation of signature: {name}")
        seen.add(name)
        if task.method_name not in (CLASSIFY, REGRESS):
            message = f"Unsupported signature method_name: {task.method_name}"
            raise ServingError(grpc.StatusCode.UNIMPLEMENTED, message)


def _check_inputs(signature: meta_graph_pb2.SignatureDef, inputs: Mapping[str, Any]) -> None:
    given, wanted = set(inputs), set(signature.inputs)
    if given <= wanted <= given | set(signature.defaults):
        return

    def words(names: set[str]) -> str:
        return "{" + ",".join(sorted(names)) + "}"

    raise invalid(
        f"input size does not match signature: {len(given)}!={len(wanted)} "
        f"len({words(given)}) != len({words(wanted)}). "
        f"Sent extra: {words(given - wanted)}. Missing but required: {words(wanted - given)}."
    )


def _wanted_outputs(signature: meta_graph_pb2.SignatureDef, output_filter: Iterable[str]) -> list[str]:
    wanted: list[str] = []
    for alias in output_filter:
        if alias not in signature.outputs:
            known = ",".join(sorted(signature.outputs))
            raise invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set {{{known}}}."
            )
        if alias in wanted:
            raise invalid(f"duplicate output tensor alias: {alias}")
        wanted.append(alias)
    wanted = wanted or sorted(signature.outputs)
    dense = dense_outputs(signature)
    if not set(wanted) <= set(dense):
        odd = ",".join(alias for alias in wanted if alias not in dense)
        raise failed_precondition(
            f"outputs {{{odd}}} are no dense tensors, which TensorFlow Serving's APIs cannot carry; output_filter may "
            f"name {{{','.join(dense)}}}"
        )
    return wanted


def _signature_name(spec: model_pb2.ModelSpec) -> str:
    return spec.signature_name or DEFAULT_SIGNATURE


def _spec(lease: Lease, asked: model_pb2.ModelSpec) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=lease.model, signature_name=_signature_name(asked))
    spec.version.value = lease.version
    return spec
