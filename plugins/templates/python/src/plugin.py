"""A plugin: a function for each tool, which takes the arguments by name and gives what JSON can hold."""

from puna_plugin import PluginError, tools


def greet(name: str, greeting: str = "Hello") -> dict:
    if not name.strip():
        raise PluginError("invalid-input", "the name is blank; whom shall I greet?", path="/name")
    return {"text": f"{greeting}, {name}!"}


Tools = tools(greet=greet)
