"""Decode a request's bytes to typed rows, so that a bad row never sinks its batch.

    {"events": [row, ...]} or one row ──> Shape.decode ──> [(index, row), ...] + [Rejection, ...]

The fast way decodes the whole body into structs in one call, about 1 us a row. The slow way runs only when that
fails. It uses Python's own JSON, which also reads values that other parsers refuse: NaN, lone surrogates, bytes that
are no UTF-8. Then it converts row by row, so that each bad value is found and named in its row. Before anything is
built, the parts of the body are counted, because 64 MB of `{}` would become gigabytes of objects.
"""

import json
from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar

import msgspec

from recommender.errors import TooManyEvents, Unparsable

MAX_ROWS = 10_000
MAX_PARTS = 50 * MAX_ROWS  # commas and brackets in one body: 50 for each allowed row


class Rejection(TypedDict):
    """The reason that one row was rejected, as the caller sees it."""

    index: int
    code: str
    message: str


Row = TypeVar("Row", bound=msgspec.Struct)


class Decoded(NamedTuple, Generic[Row]):
    rows: list[tuple[int, Row]]
    rejected: list[Rejection]

    @property
    def n_received(self) -> int:
        return len(self.rows) + len(self.rejected)


class Shape(Generic[Row]):
    """One kind of row: its struct, the name of its list, and its rejection messages.

    messages: text by code. A field that cannot be decoded is rejected as `invalid_FIELD`, and a row that is no object
    as `not_an_object`. Both codes must be in it.
    """

    def __init__(self, struct: type[Row], *, plural: str, messages: Mapping[str, str]) -> None:
        self.struct = struct
        self.plural = plural
        self.messages = messages
        self._marker = f'"{plural}"'.encode()
        self._fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
        batch = msgspec.defstruct("Batch", [(plural, list[struct])])  # type: ignore[valid-type]  # a class at run time
        self._decode_batch = msgspec.json.Decoder(batch).decode
        self._decode_one = msgspec.json.Decoder(struct).decode

    def decode(self, body: bytes) -> Decoded[Row]:
        """Decode a body into rows and rejections.

        Raises Unparsable and TooManyEvents.
        """
        if len(body) > MAX_PARTS and sum(map(body.count, (b",", b"{", b"["))) > MAX_PARTS:
            raise TooManyEvents
        try:
            if self._marker in body:
                rows = getattr(self._decode_batch(body), self.plural)
            else:
                rows = [self._decode_one(body)]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._decode_singly(body)
        if len(rows) > MAX_ROWS:
            raise TooManyEvents
        return Decoded(list(enumerate(rows)), [])

    def rejection(self, index: int, code: str) -> Rejection:
        return {"index": index, "code": code, "message": self.messages[code]}

    def _decode_singly(self, body: bytes) -> Decoded[Row]:
        decoded: Decoded[Row] = Decoded([], [])
        for index, value in enumerate(self._split(body)):
            try:
                decoded.rows.append((index, msgspec.convert(value, self.struct)))
            except (msgspec.ValidationError, OverflowError, RecursionError):
                decoded.rejected.append(self.rejection(index, self._diagnose(value)))
        return decoded

    def _split(self, body: bytes) -> list[Any]:
        try:
            text = body.decode("utf-8", "surrogateescape")
            value = json.loads(text, parse_int=_number)
        except RecursionError:
            raise Unparsable("The body is nested too deeply. Send flat objects as /api/docs/ shows.") from None
        except ValueError as error:
            raise Unparsable(f"The body is not JSON: {error}. Send valid JSON.") from None
        if not isinstance(value, dict):
            raise Unparsable(f'The body must be one object, or {{"{self.plural}": [...]}}.')
        if self.plural not in value:
            return [value]
        rows = value[self.plural]
        if not isinstance(rows, list):
            raise Unparsable(f"`{self.plural}` must be a list.")
        if len(rows) > MAX_ROWS:
            raise TooManyEvents
        return rows

    def _diagnose(self, value: Any) -> str:
        if not isinstance(value, dict):
            return "not_an_object"
        for name, field in self._fields.items():
            if name not in value:
                if field.required:
                    return f"invalid_{name}"
                continue
            try:
                msgspec.convert(value[name], field.type)
            except (msgspec.ValidationError, OverflowError, RecursionError):
                return self._diagnose_inside(name, value[name], field.type)
        return "not_an_object"

    def _diagnose_inside(self, name: str, value: Any, of: Any) -> str:
        """Return the code of the bad field inside a nested struct, or that of the struct."""
        inner = next((kind for kind in getattr(of, "__args__", ()) if isinstance(kind, type(msgspec.Struct))), None)
        if inner is not None and isinstance(value, dict):
            for field in msgspec.structs.fields(inner):
                try:
                    msgspec.convert(value.get(field.encode_name, field.default), field.type)
                except msgspec.ValidationError:
                    return f"invalid_{field.encode_name}"
        return f"invalid_{name}"


def _number(digits: str) -> int | float:
    """Parse an integer, as a float if it has more than 18 digits.

    Python refuses integers of more than 4,300 digits, and no field here takes one of more than 18.
    """
    return int(digits) if len(digits) <= 18 else float(digits)


def are_printable(texts: list[str]) -> bool:
    """Return whether all texts are free of control characters and lone surrogates.

    Newlines count as control characters.
    """
    return "".join(texts).isprintable()
