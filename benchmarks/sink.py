"""A server that takes whatever is put to it over TLS and keeps nothing: `python -m benchmarks.sink FOLDER`.

Prints its port once it listens, on 127.0.0.1; its certificate is FOLDER/sink.pem.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
    b'ETag: "00000000000000000000000000000000"\r\nx-amz-checksum-crc32: %s\r\nx-amz-request-id: 0\r\n\r\n'
)
JSON_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/x-amz-json-1.0\r\n\r\n{}"
"""What DynamoDB says to a write."""


def make_certificate(folder: Path) -> Path:
    """Make a certificate of its own for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "sink.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    path.with_suffix(".key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            headers = {
                name.strip().lower(): value.strip()
                for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
            }
            if headers.get(b"expect") == b"100-continue":
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if headers.get(b"transfer-encoding") == b"chunked":
                while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                    await skip(reader, size + 2)
                await reader.readuntil(b"\r\n")
            else:
                await skip(reader, int(headers.get(b"content-length", 0)))
            is_write = head.startswith(b"POST")
            writer.write(JSON_ANSWER if is_write else ANSWER % headers.get(b"x-amz-checksum-crc32", b""))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def skip(reader: asyncio.StreamReader, size: int) -> None:
    """Read and forget."""
    while size:
        size -= len(await reader.read(min(size, 1 << 20)) or b"")
        if reader.at_eof() and size:
            raise asyncio.IncompleteReadError(b"", size)


async def main(folder: Path) -> None:
    """Serve until the process is ended."""
    certificate = make_certificate(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context, limit=1 << 20)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
