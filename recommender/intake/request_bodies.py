"""Read and unpack request bodies within the limits of the settings.

Django's own reading is not used, for two reasons. It takes a chunked body, which has no Content-Length, for an empty
one. And it has a single memory limit for all forms. Views get bytes from `read_body`. DRF's views get the objects
that `JSONBody` parses.
"""

import zlib
from typing import Any

import orjson
from django.conf import settings
from django.http import HttpRequest
from rest_framework.parsers import BaseParser

from recommender import errors


class JSONBody(BaseParser):
    """DRF's JSON parser with the limits of `read_body`."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:  # noqa: ARG002 (DRF's)
        request = parser_context["request"]
        try:
            return orjson.loads(read_body(request._request))
        except orjson.JSONDecodeError as error:
            raise errors.Unparsable(f"The body is not JSON: {error}. Send valid JSON.") from None


def read_body(request: HttpRequest) -> bytes:
    """Return the unpacked body of a JSON request, within the limits of the settings.

    Raises UnsupportedMediaType, UnsupportedEncoding, BodyTooLarge, Unparsable.
    """
    kind = request.META.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise errors.UnsupportedMediaType
    encoding = request.META.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    if encoding not in ("", "identity", "gzip"):
        raise errors.UnsupportedEncoding
    body = _receive(request)
    return _inflate(body) if encoding == "gzip" else body


def _receive(request: HttpRequest) -> bytes:
    """Read the body from the server's own stream.

    Django takes a chunked body, which has no Content-Length, for an empty one.
    """
    limit = settings.MAX_BODY_BYTES
    declared = request.META.get("CONTENT_LENGTH") or ""
    if declared:
        left = int(declared) if declared.isdecimal() else 0
        if left > limit:
            raise errors.BodyTooLarge(f"A body may have at most {limit:,} bytes. Send smaller batches.")
    else:
        left = limit + 1 if "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower() else 0
    stream = request.META["wsgi.input"]
    parts = []
    while left > 0:
        part = stream.read(left)
        if not part:
            break
        parts.append(part)
        left -= len(part)
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    if len(body) > limit:
        raise errors.BodyTooLarge(f"A body may have at most {limit:,} bytes. Send smaller batches.")
    return body


def _inflate(body: bytes) -> bytes:
    limit = settings.MAX_INFLATED_BYTES
    parts: list[bytes] = []
    left = limit + 1
    while body:
        stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
        try:
            parts.append(stream.decompress(body, left))
        except zlib.error as error:
            raise errors.Unparsable(f"The body is not gzip: {error}. Send it plain or packed with gzip.") from None
        left -= len(parts[-1])
        if left <= 0:
            raise errors.BodyTooLarge(f"A body may have at most {limit:,} bytes unpacked. Send smaller batches.")
        if not stream.eof:
            raise errors.Unparsable("The gzip body ends too early. Send the whole body.")
        body = stream.unused_data  # a gzip body may hold several gzip files, one after the other
    return b"".join(parts)
