"""The guest SDK for Puna plugins written in Python: tools are functions.

What the host offers lies in `wit_world.imports`: `http`, `key_value`, `clock`, `config`, `files`, `log` and so on, as
`build/wit/plugin.wit` has them once the plugin was built. A call without its grant raises an error of kind `denied`,
which ends the tool's call as it is when nobody catches it.
"""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.tools import (
    Attachment,
    Content_File,
    Content_Image,
    Content_Json,
    Content_Text,
)
from wit_world.imports.types import Error, ErrorKind

CONTENT = (Content_File, Content_Image, Content_Json, Content_Text)

__all__ = ["Attachment", "Content_File", "Content_Image", "Content_Json", "Content_Text", "PluginError", "tools"]


class PluginError(Exception):
    """A failed call. The model reads the message, so it names the value and the remedy.

    `kind` is one of `invalid-input`, `not-found`, `denied`, `auth-required`, `rate-limited`, `unavailable`, `timeout`,
    `too-large` and `internal`; `path` is the JSON pointer of the offending argument; `code` is the plugin's own;
    `retry_after_ms` is how long to wait before trying again.
    """

    def __init__(self, kind, message, *, path=None, code=None, retry_after_ms=None):
        super().__init__(message)
        self.error = Error(ErrorKind[kind.replace("-", "_").upper()], message, code, path, retry_after_ms)


def tools(**functions):
    """The class to export as `Tools`: each function is the tool of that name in `plugin.toml`.

    A function takes the arguments by name, and those that are optional have a default. It returns a value that JSON can
    hold, or a list of `Content_Text`, `Content_Image`, `Content_File` and `Content_Json`.
    """

    class Tools(exports.Tools):
        def call(self, name, arguments):
            try:
                return _contents(functions[name](**json.loads(arguments)))
            except Err:
                # An error of the host that nobody caught.
                raise
            except PluginError as error:
                raise Err(error.error) from error
            except Exception as error:
                message = f"{type(error).__name__}: {error}"
                raise Err(Error(ErrorKind.INTERNAL, message, None, None, None)) from error

    return Tools


def _contents(value):
    if isinstance(value, list) and value and all(isinstance(part, CONTENT) for part in value):
        return value
    return [Content_Json(json.dumps(value, allow_nan=False))]
