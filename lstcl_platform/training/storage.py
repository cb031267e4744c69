"""The files of a stage; see `lstcl_platform.storage`."""

from lstcl_platform.storage import (
    CHUNK_BYTES,
    create_exclusively,
    delete_tree,
    download,
    exists,
    join,
    list_names,
    local_path,
    open_read,
    open_write,
    parent,
    read_bytes,
    repeated,
    write_bytes,
)

__all__ = [
    "CHUNK_BYTES",
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
    "write_bytes",
]
