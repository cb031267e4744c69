"""A digest over every value of a table, fast enough to be checked whenever the table is read."""

import hashlib
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc


def table_digest(table: pa.Table, said: Mapping[bytes, bytes]) -> str:
    """SHA-256 over the columns of `table` by name (numbers and text, nulls included) and over the notes `said`.

    Of the values alone: neither chunks nor encodings nor the version of Arrow count.
    """
    fold = hashlib.sha256()
    for name, note in sorted(said.items()):
        fold.update(b"%d %d " % (len(name), len(note)) + name + note)
    for name in table.column_names:
        column = table[name].combine_chunks()
        fold.update(f"{name} {column.type} {len(column)}\n".encode())
        fold.update(pc.is_null(column).cast(pa.uint8()).to_numpy(zero_copy_only=False))
        if pa.types.is_string(column.type):
            texts = column.fill_null("")
            fold.update(pc.binary_length(texts).to_numpy(zero_copy_only=False))
            whole = pa.LargeListArray.from_arrays([0, len(texts)], texts)
            fold.update(pc.binary_join(whole, "")[0].as_buffer())
        else:
            fold.update(column.fill_null(0).to_numpy(zero_copy_only=False).tobytes())
    return fold.hexdigest()
