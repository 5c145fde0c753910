// The guest SDK for Puna plugins written in JavaScript: tools are functions.
//
// What the host offers is imported by its name in the contract, which lies in `build/wit/plugin.wit` once the plugin was
// built: `import http from "puna:plugin/http@0.1.0"`, then `http.send({...})`. A call without its grant throws an error of
// kind `denied`, which ends the tool's call as it is when nobody catches it.

const KINDS = [
  "invalid-input",
  "not-found",
  "denied",
  "auth-required",
  "rate-limited",
  "unavailable",
  "timeout",
  "too-large",
  "internal",
];

/**
 * A failed call. The model reads the message, so it names the value and the remedy. `kind` is one of the contract's:
 * those above; `path` is the JSON pointer of the offending argument; `code` is the plugin's own; `retryAfterMs` is how
 * long to wait before trying again.
 */
export class PluginError extends Error {
  constructor(kind, message, { path = null, code = null, retryAfterMs = null } = {}) {
    super(message);
    Object.assign(this, { kind, path, code, retryAfterMs });
  }
}

/**
 * What to export as `tools`: each function is the tool of that name in `plugin.toml`. A function takes the arguments as
 * an object and returns a value that JSON can hold, or `contents([...])`. It returns it, not a promise: every function
 * of the contract answers at once.
 */
export function tools(functions) {
  return {
    call(name, text) {
      try {
        const value = functions[name](JSON.parse(text));
        return value instanceof Contents ? value.parts : [{ tag: "json", val: JSON.stringify(value ?? null) }];
      } catch (error) {
        throw failure(error);
      }
    },
  };
}

/**
 * A result of several parts: `{ tag: "text", val: "..." }`, or with the tag `image` or `file`
 * `{ name, mediaType, content }`, the content a `Uint8Array`.
 */
export function contents(parts) {
  return new Contents(parts);
}

class Contents {
  constructor(parts) {
    this.parts = parts;
  }
}

/** An error as the contract has it: the plugin's own, one of the host that nobody caught, or any other. */
function failure(error) {
  const known = KINDS.includes(error?.kind);
  return {
    kind: known ? error.kind : "internal",
    message: known ? String(error.message) : String(error),
    code: (known && error.code) || null,
    path: (known && error.path) || null,
    retryAfterMs: (known && error.retryAfterMs) || null,
  };
}
