"""Where things are kept: local folders and object stores behind one set of functions, by path or URI.

What fails because the place is away, full or closed to us raises `lstcl_platform.specs.errors.StorageError`.
"""

from lstcl_platform.storage.files import (
    CHUNK_BYTES,
    HashingWriter,
    create_exclusively,
    delete_tree,
    download,
    exists,
    list_names,
    open_read,
    open_write,
    read_bytes,
    repeated,
    size,
    write_bytes,
)
from lstcl_platform.storage.libraries import check_library
from lstcl_platform.storage.locations import join, local_path, parent

__all__ = [
    "CHUNK_BYTES",
    "HashingWriter",
    "check_library",
    "create_exclusively",
    "delete_tree",
    "download",
    "exists",
    "join",
    "list_names",
    "local_path",
    "open_read",
    "open_write",
    "parent",
    "read_bytes",
    "repeated",
    "size",
    "write_bytes",
]
