"""Encrypted gRPC to a model server: PEM files to credentials, checked before a connection fails without a reason.

The server's side is that of `tensorflow_model_server --ssl_config_file`: its SSLConfig
(tensorflow_serving/config/ssl_config.proto), which holds the PEM texts themselves.
"""

from __future__ import annotations

import dataclasses
import ssl
import tempfile
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from hivemill.common.errors import ConfigError

_TEXT, _BOOL = descriptor_pb2.FieldDescriptorProto.TYPE_STRING, descriptor_pb2.FieldDescriptorProto.TYPE_BOOL
_SSL_CONFIG_FIELDS = {"server_key": (1, _TEXT), "server_cert": (2, _TEXT), "custom_ca": (3, _TEXT)}
_SSL_CONFIG_FIELDS |= {"client_verify": (4, _BOOL)}


@dataclasses.dataclass(frozen=True)
class ServerTls:
    """What a server shows and whom it lets in, as PEM; with `client_ca` only clients with a certificate of it."""

    key: bytes = dataclasses.field(repr=False)
    certificate: bytes
    client_ca: bytes | None = None

    def grpc_credentials(self) -> Any:
        import grpc

        pairs = [(self.key, self.certificate)]
        return grpc.ssl_server_credentials(pairs, self.client_ca, require_client_auth=self.client_ca is not None)

    def context(self) -> ssl.SSLContext:
        """The same for a server of the standard library. Raises ConfigError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        _load_pair(context, self.certificate, self.key, "the server's certificate and key")
        if self.client_ca is not None:
            _load_authority(context, self.client_ca, "the clients' authority")
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def server_tls(cert_file: str | Path, key_file: str | Path, client_ca_file: str | Path | None = None) -> ServerTls:
    """From PEM files. Raises ConfigError, also where key and certificate do not belong together."""
    return _checked(ServerTls(_read(key_file), _read(cert_file), _read(client_ca_file) if client_ca_file else None))


def server_tls_of_config(file: str | Path) -> ServerTls:
    """From a file as `tensorflow_model_server --ssl_config_file` takes it. Raises ConfigError."""
    try:
        config = text_format.Parse(_read(file).decode("utf-8", "replace"), _ssl_config())
    except text_format.ParseError as error:
        raise ConfigError(
            f"{file}: must be a tensorflow.serving.SSLConfig as text: {error}",
            hint="Its fields are server_key, server_cert, custom_ca (PEM texts) and client_verify.",
        ) from error
    if config.client_verify and not config.custom_ca:
        raise ConfigError(f"{file}: client_verify needs custom_ca", hint="Put the clients' authority there, as PEM.")
    client_ca = config.custom_ca.encode() if config.client_verify else None
    return _checked(ServerTls(config.server_key.encode(), config.server_cert.encode(), client_ca))


def channel_credentials(
    ca_file: str | Path, cert_file: str | Path | None = None, key_file: str | Path | None = None
) -> Any:
    """grpc.ChannelCredentials of a client that trusts `ca_file`, and shows a certificate of its own if given one.

    Raises ConfigError where a file cannot be read, is no PEM, or the key is another certificate's.
    """
    import grpc

    authority = _read(ca_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _load_authority(context, authority, str(ca_file))
    if cert_file is None or key_file is None:
        return grpc.ssl_channel_credentials(authority)
    certificate, key = _read(cert_file), _read(key_file)
    _load_pair(context, certificate, key, f"{cert_file} and {key_file}")
    return grpc.ssl_channel_credentials(authority, key, certificate)


def hint_of(details: str) -> str | None:
    """What to do about a failed connection, where gRPC's words say that TLS is why."""
    if "CERTIFICATE_VERIFY_FAILED" in details or "Hostname Verification" in details or "Peer name" in details:
        return (
            "The server's certificate must be signed by the authority in tls_ca_file, be valid today, and name the "
            "host of the address."
        )
    if "WRONG_VERSION_NUMBER" in details:
        return "The server speaks no TLS at that port: remove tls_ca_file, or start it with a certificate."
    if "SSL" in details.upper() or "handshake" in details.lower():
        return "The TLS handshake failed: does the server ask for a client's certificate (tls_cert_file, tls_key_file)?"
    return None


def _checked(tls: ServerTls) -> ServerTls:
    tls.context()
    return tls


def _read(file: str | Path) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}", hint="Correct the path, or its mode.") from error


def _load_authority(context: ssl.SSLContext, pem: bytes, what: str) -> None:
    try:
        context.load_verify_locations(cadata=pem.decode("ascii", "replace"))
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(f"{what} must be certificates in PEM: {error}", hint="Give the CA's certificate.") from error


def _load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes, what: str) -> None:
    with tempfile.TemporaryDirectory() as folder:  # 0700; the standard library takes files only
        files = Path(folder, "certificate"), Path(folder, "key")
        for file, content in zip(files, (certificate, key), strict=True):
            file.write_bytes(content)
        try:
            context.load_cert_chain(*files, password="")
        except (ssl.SSLError, OSError) as error:
            raise ConfigError(
                f"{what} must be a certificate and its own private key, in PEM, without a password: {error}",
                hint="The certificate comes first, then those that signed it.",
            ) from error


def _ssl_config() -> Any:
    """An empty tensorflow.serving.SSLConfig: the package tensorflow-serving-api leaves this one proto out."""
    file = descriptor_pb2.FileDescriptorProto(name="ssl_config.proto", package="tensorflow.serving", syntax="proto3")
    message = file.message_type.add(name="SSLConfig")
    for name, (number, kind) in _SSL_CONFIG_FIELDS.items():
        message.field.add(name=name, number=number, type=kind, label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()  # of its own: another library may register the real one
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.serving.SSLConfig"))()
