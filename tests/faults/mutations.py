"""Files that were damaged or edited: bytes and fields changed at random, in every way that was thought of."""

import copy
import json
import random
import struct
from collections.abc import Iterator
from typing import Any

# What a stranger may write in place of any value.
STRANGE: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 2**31, 2**63 - 1, 2**63, -(2**63), 10**30, 10**400),
    *(0.5, -0.0, 1.5, 1e308, -1e308, 5e-324, 1e-7),
    *(
        "",
        "x",
        "\ud800",
        "\x1b[31mred",
        "[red]",
        "<script>",
        "../../etc/passwd",
        "/etc/passwd",
        "a\nb",
        "$\\frac{",
    ),
    *("nan", "deu_Latn", "eng_Latn", "DEU", "nasca", "0.inner", "٣.inner", "9" * 5000, "a" * 10_000, "\0"),
    *([], {}, [[]], {"": {}}, [None], ["deu_Latn"], {"deu_Latn": 1}, [0, 1], [1.0, 0.0], [0, 1, 2]),
]
# Raw JSON that the standard library would read, or that no parser should follow to its end.
RAW = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "9" * 6000,
    "[" * 500 + "]" * 500,
    '{"a":' * 90 + "1" + "}" * 90,
]
_HOLE = "a place for raw text"


def bytes_changed(data: bytes, order: random.Random) -> bytes:
    """Flip a bit; swap, cut out, repeat or put in bytes; change a digit; or cut the rest off."""
    at, kind = order.randrange(len(data)), order.randrange(8)
    few = 1 + order.randrange(30)
    if kind == 0:
        return data[:at] + bytes([data[at] ^ (1 << order.randrange(8))]) + data[at + 1 :]
    if kind == 1:
        return data[:at] + data[at + few :]
    if kind == 2:
        return data[:at] + order.randbytes(few) + data[at:]
    if kind == 3:
        return data[:at]
    if kind == 4:
        other = order.randrange(len(data))
        swapped = bytearray(data)
        swapped[at], swapped[other] = swapped[other], swapped[at]
        return bytes(swapped)
    if kind == 5:
        return data[: at + few] + data[at:]
    if kind == 6:
        end = at + few
        return data[:at] + data[end : end + few] + data[at:end] + data[end + few :]
    digits = [place for place, byte in enumerate(data) if byte in b"0123456789"]
    place = order.choice(digits) if digits else at
    return data[:place] + order.choice(b"0123456789").to_bytes(1, "big") + data[place + 1 :]


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value inside another one."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        yield (*way, key)
        yield from places(one, (*way, key))


def at_place(value: Any, way: tuple[Any, ...]) -> Any:
    for key in way:
        value = value[key]
    return value


def fields_changed(body: Any, order: random.Random) -> tuple[Any, str | None]:
    """Change a value, a key or two places of a JSON value; the text is raw JSON for one place, or None."""
    body = copy.deepcopy(body)
    # A value deep down has thousands of neighbours: choose the depth first.
    ways = list(places(body))
    depth = order.choice(sorted({len(way) for way in ways}))
    *before, key = way = order.choice([way for way in ways if len(way) == depth])
    inside, kind = at_place(body, tuple(before)), order.randrange(10)
    if kind == 0:
        del inside[key]
    elif kind == 1:
        other = order.choice(ways)
        if other[: len(way)] != way and way[: len(other)] != other:
            outer = at_place(body, other[:-1])
            inside[key], outer[other[-1]] = outer[other[-1]], inside[key]
    elif kind == 2 and isinstance(inside, dict):
        inside[order.choice(["extra", "", str(key).upper(), "schema_version", "\x1b[0m"])] = inside[key]
    elif kind == 3 and isinstance(inside, dict):
        inside[order.choice([*map(str, STRANGE[17:]), *inside])] = inside.pop(key)
    elif kind == 4:
        inside[key] = order.choice([[inside[key]], {"value": inside[key]}, str(inside[key])])
    elif kind == 5 and isinstance(inside[key], list | dict) and inside[key]:
        inside[key] = _rearranged(inside[key], order)
    elif kind == 6:
        inside[key] = _HOLE
        return body, order.choice(RAW)
    elif kind == 7 and isinstance(inside[key], int | float):
        inside[key] = order.choice(
            [-inside[key], inside[key] + 1, inside[key] * 10, inside[key] * (1 + 1e-9)]
        )
    else:
        inside[key] = order.choice(STRANGE)
    return body, None


def _rearranged(value: Any, order: random.Random) -> Any:
    if isinstance(value, dict):
        return dict(order.sample(list(value.items()), len(value)))
    return order.choice([value[::-1], value * 2, value[:-1], [*value, value[0]]])


def text_of(body: Any, raw: str | None = None) -> bytes:
    """JSON with every value that Python can write; half a surrogate pair is escaped."""
    text = json.dumps(body)
    return (text if raw is None else text.replace(json.dumps(_HOLE), raw)).encode()


_DTYPES = [
    "F8_E4M3",
    "F8_E5M2",
    "BF16",
    "F16",
    "F32",
    "F64",
    "I8",
    "I64",
    "U64",
    "BOOL",
    "C64",
    "F4",
    "",
    5,
    None,
]


def tensors_changed(data: bytes, order: random.Random) -> bytes:
    """Change the header of a safetensors file, or the numbers behind it."""
    length = struct.unpack("<Q", data[:8])[0]
    header, values = json.loads(data[8 : 8 + length]), data[8 + length :]
    kind, name = order.randrange(9), order.choice(list(header))
    if kind == 0:
        header[name]["dtype"] = order.choice(_DTYPES)
    elif kind == 1:
        shape = header[name]["shape"]
        header[name]["shape"] = order.choice(
            [[-one for one in shape], [2**62, 4], [], [0], [1, *shape], [10**30]]
        )
    elif kind == 2:
        other = order.choice(list(header))
        header[name], header[other] = header[other], header[name]
    elif kind == 3:
        header[order.choice(["extra", "\ud800", "", "__metadata__"])] = header.pop(name)
    elif kind == 4:
        del header[name]
    elif kind == 5:
        start, end = header[name]["data_offsets"]
        header[name]["data_offsets"] = order.choice(
            [[end, start], [-1, end], [start, 2**63], [start, end + 8], []]
        )
    elif kind == 6:
        at = order.randrange(max(len(values) - 8, 1))
        number = order.choice([float("nan"), float("inf"), -1e300, -1.0])
        values = values[:at] + struct.pack("<d", number) + values[at + 8 :]
    elif kind == 7:
        values = bytes_changed(values, order) if values else values
    else:
        return bytes_changed(data, order)
    text = json.dumps(header).encode()
    return struct.pack("<Q", order.choice([len(text)] * 9 + [2**63])) + text + values
