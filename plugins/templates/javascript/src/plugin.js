// A plugin: a function for each tool, which takes the arguments as an object and gives what JSON can hold.

import { PluginError, tools as toolsOf } from "../sdk/puna-plugin.js";

function greet({ name, greeting = "Hello" }) {
  if (name.trim() === "") {
    throw new PluginError("invalid-input", "the name is blank; whom shall I greet?", { path: "/name" });
  }
  return { text: `${greeting}, ${name}!` };
}

export const tools = toolsOf({ greet });
