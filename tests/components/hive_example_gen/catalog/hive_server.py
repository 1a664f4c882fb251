"""A HiveServer2 in this process that knows the answers to some statements."""

import struct
import threading

from impala._thrift_gen.TCLIService import TCLIService
from impala._thrift_gen.TCLIService import ttypes as t

from tests.support import thrift_serving

_TYPES = t.TTypeId._NAMES_TO_VALUES
_COLUMNS = {
    "BOOLEAN": ("boolVal", t.TBoolColumn),
    "TINYINT": ("byteVal", t.TByteColumn),
    "SMALLINT": ("i16Val", t.TI16Column),
    "INT": ("i32Val", t.TI32Column),
    "BIGINT": ("i64Val", t.TI64Column),
    "FLOAT": ("doubleVal", t.TDoubleColumn),
    "DOUBLE": ("doubleVal", t.TDoubleColumn),
    "BINARY": ("binaryVal", t.TBinaryColumn),
}
_UNDER_NULL = {"BOOLEAN": False, "FLOAT": 0.0, "DOUBLE": 0.0}


class Answer:
    """`columns` is name -> type (`DECIMAL(8,2)` with its numbers); `rows` are tuples, None for NULL."""

    def __init__(self, columns, rows=(), error=None, breaks_after=None, runs=0):
        self.columns = {name: kind.partition("(")[0] for name, kind in columns.items()}
        self.qualifiers = {name: kind.partition("(")[2].rstrip(")") for name, kind in columns.items()}
        self.rows = list(rows)
        self.error = error
        self.breaks_after = breaks_after
        self.runs = runs


class Handler:
    """`answers` maps a part of a statement to its answer; `calls` holds statements, cancels and closes, in order."""

    def __init__(self, answers, product="Apache Hive", rows_per_fetch=1000):
        self.answers = answers
        self.product = product
        self.rows_per_fetch = rows_per_fetch
        self.calls = []
        self.running = None
        self.place = 0
        self.drop = threading.Event()

    def OpenSession(self, req):
        self.user = req.username
        return t.TOpenSessionResp(
            status=_fine(),
            serverProtocolVersion=t.TProtocolVersion.HIVE_CLI_SERVICE_PROTOCOL_V6,
            sessionHandle=_session(),
        )

    def CloseSession(self, req):
        self.calls.append("close session")
        return t.TCloseSessionResp(status=_fine())

    def GetInfo(self, req):
        return t.TGetInfoResp(status=_fine(), infoValue=t.TGetInfoValue(stringValue=self.product))

    def ExecuteStatement(self, req):
        self.calls.append(req.statement)
        self.running = self._answer(req.statement)
        self.empty = req.statement.endswith("LIMIT 0")
        self.place = 0
        if isinstance(self.running, str):
            return t.TExecuteStatementResp(
                status=t.TStatus(statusCode=t.TStatusCode.ERROR_STATUS, errorMessage=self.running)
            )
        return t.TExecuteStatementResp(status=_fine(), operationHandle=_operation())

    def _answer(self, statement):
        if statement.startswith("USE "):
            return Answer({})
        known = [answer for part, answer in self.answers.items() if part in statement]
        return known[0] if known else "Error while compiling statement: FAILED: SemanticException no such table"

    def GetOperationStatus(self, req):
        if self.running.runs:
            self.running.runs -= 1
            return t.TGetOperationStatusResp(status=_fine(), operationState=t.TOperationState.RUNNING_STATE)
        failed = self.running.error and not self.empty
        state = t.TOperationState.ERROR_STATE if failed else t.TOperationState.FINISHED_STATE
        return t.TGetOperationStatusResp(
            status=_fine(), operationState=state, errorMessage=self.running.error, hasResultSet=True
        )

    def GetResultSetMetadata(self, req):
        columns = [
            t.TColumnDesc(
                columnName=name, typeDesc=t.TTypeDesc([_type(kind, self.running.qualifiers[name])]), position=i
            )
            for i, (name, kind) in enumerate(self.running.columns.items())
        ]
        return t.TGetResultSetMetadataResp(status=_fine(), schema=t.TTableSchema(columns))

    def FetchResults(self, req):
        if self.running.breaks_after is not None and self.place >= self.running.breaks_after:
            self.drop.set()
            raise EOFError  # the connection ends without a word
        size = min(req.maxRows, self.rows_per_fetch)
        rows = [] if self.empty else self.running.rows[self.place : self.place + size]
        self.place += len(rows)
        columns = [_column(kind, [row[i] for row in rows]) for i, kind in enumerate(self.running.columns.values())]
        return t.TFetchResultsResp(
            status=_fine(), hasMoreRows=False, results=t.TRowSet(startRowOffset=0, rows=[], columns=columns)
        )

    def CancelOperation(self, req):
        self.calls.append("cancel")
        return t.TCancelOperationResp(status=_fine())

    def CloseOperation(self, req):
        self.calls.append("close")
        return t.TCloseOperationResp(status=_fine())


def serving(handler, **options):
    """Yields the port; without `sasl`, a client says `auth: nosasl`."""
    return thrift_serving.serving(TCLIService.Processor(handler), **options)


def _type(kind, qualifiers):
    numbers = [t.TTypeQualifierValue(i32Value=int(each)) for each in qualifiers.split(",") if each]
    named = t.TTypeQualifiers(dict(zip(("precision", "scale"), numbers, strict=False))) if numbers else None
    return t.TTypeEntry(primitiveEntry=t.TPrimitiveTypeEntry(type=_TYPES[f"{kind}_TYPE"], typeQualifiers=named))


def _column(kind, values):
    field, made = _COLUMNS.get(kind, ("stringVal", t.TStringColumn))
    default = _UNDER_NULL.get(kind, b"" if field in ("stringVal", "binaryVal") else 0)
    plain = [default if value is None else value.encode() if isinstance(value, str) else value for value in values]
    nulls = bytearray((len(values) + 7) // 8)
    for index, value in enumerate(values):
        nulls[index // 8] |= (value is None) << (index % 8)
    return t.TColumn(**{field: made(values=plain, nulls=bytes(nulls))})


def _fine():
    return t.TStatus(statusCode=t.TStatusCode.SUCCESS_STATUS)


def _identifier():
    return t.THandleIdentifier(guid=struct.pack(">QQ", 1, 2), secret=struct.pack(">QQ", 3, 4))


def _session():
    return t.TSessionHandle(sessionId=_identifier())


def _operation():
    return t.TOperationHandle(
        operationId=_identifier(), operationType=t.TOperationType.EXECUTE_STATEMENT, hasResultSet=True
    )
