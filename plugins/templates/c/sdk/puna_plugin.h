// The guest SDK for Puna plugins written in C: tools are functions.
//
// What the host offers, and all that this header leaves out, is declared in `guest.h`, which `puna plugin build` writes
// into `build`. Every function there answers `false` with an error of kind `denied` without its grant.

#ifndef PUNA_PLUGIN_H
#define PUNA_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>

#include "guest.h"

// Why a call failed: the contract's closed list.
typedef enum {
    PUNA_INVALID_INPUT = PUNA_PLUGIN_TYPES_ERROR_KIND_INVALID_INPUT,
    PUNA_NOT_FOUND = PUNA_PLUGIN_TYPES_ERROR_KIND_NOT_FOUND,
    PUNA_DENIED = PUNA_PLUGIN_TYPES_ERROR_KIND_DENIED,
    PUNA_AUTH_REQUIRED = PUNA_PLUGIN_TYPES_ERROR_KIND_AUTH_REQUIRED,
    PUNA_RATE_LIMITED = PUNA_PLUGIN_TYPES_ERROR_KIND_RATE_LIMITED,
    PUNA_UNAVAILABLE = PUNA_PLUGIN_TYPES_ERROR_KIND_UNAVAILABLE,
    PUNA_TIMEOUT = PUNA_PLUGIN_TYPES_ERROR_KIND_TIMEOUT,
    PUNA_TOO_LARGE = PUNA_PLUGIN_TYPES_ERROR_KIND_TOO_LARGE,
    PUNA_INTERNAL = PUNA_PLUGIN_TYPES_ERROR_KIND_INTERNAL,
} puna_error_kind;

// A call of a tool. What is taken from it lives until the call ends.
typedef struct puna_call puna_call;

typedef struct {
    // As in `plugin.toml`.
    const char *name;
    // True with the result complete; false after `puna_fail`.
    bool (*function)(puna_call *call);
} puna_tool;

// The plugin's tools, which it defines; the last has no name.
extern const puna_tool puna_tools[];

// The arguments as they came: a JSON object that is valid against the tool's schema.
const char *puna_arguments(const puna_call *call);

// The argument of this name at the top of the object, or the other value where it is missing or `null`. The host has
// checked its type. A text ends at its first NUL.
const char *puna_string(puna_call *call, const char *name, const char *otherwise);
double puna_number(puna_call *call, const char *name, double otherwise);
bool puna_boolean(puna_call *call, const char *name, bool otherwise);

// The argument of this name as JSON, or NULL: for arrays and objects.
const char *puna_json(puna_call *call, const char *name);

// Adds a member to the result, which is a JSON object. They give true, so that the last can end a tool.
bool puna_add_string(puna_call *call, const char *name, const char *value);
bool puna_add_number(puna_call *call, const char *name, double value);
bool puna_add_boolean(puna_call *call, const char *name, bool value);
bool puna_add_json(puna_call *call, const char *name, const char *json);

// Fails the call and gives false. The model reads the message, so it names the value and the remedy. `path` is the JSON
// pointer of the offending argument, or NULL.
bool puna_fail(puna_call *call, puna_error_kind kind, const char *path, const char *message);

// A text as `printf` makes it.
__attribute__((format(printf, 2, 3))) const char *puna_format(puna_call *call, const char *format, ...);

// Memory that is given back when the call ends.
void *puna_allocate(puna_call *call, size_t size);

#endif
