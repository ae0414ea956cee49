"""Files and folders: read with care, written whole or not at all."""

from holdfast.files.content import (
    parse_json,
    read_bytes,
    read_if_there,
    read_json,
    read_jsonl,
    read_text,
    recall,
    remember,
    write_bytes,
    write_json,
    write_jsonl,
    write_text,
)
from holdfast.files.disk import file_digest, listing, remove_folder, size, state
from holdfast.files.paths import LONGEST_NAME, free_name, is_hub_id, is_url, real, user_path
from holdfast.files.regular import check_regular, is_odd, opened
from holdfast.files.whole import recover_folder, scratch_folder, sweep, sync, whole_file, whole_folder

__all__ = [
    "LONGEST_NAME",
    "check_regular",
    "file_digest",
    "free_name",
    "is_hub_id",
    "is_odd",
    "is_url",
    "listing",
    "opened",
    "parse_json",
    "read_bytes",
    "read_if_there",
    "read_json",
    "read_jsonl",
    "read_text",
    "real",
    "recall",
    "recover_folder",
    "remember",
    "remove_folder",
    "scratch_folder",
    "size",
    "state",
    "sweep",
    "sync",
    "user_path",
    "whole_file",
    "whole_folder",
    "write_bytes",
    "write_json",
    "write_jsonl",
    "write_text",
]
