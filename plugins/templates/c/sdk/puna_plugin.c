#include "puna_plugin.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Memory of a call, in a list.
typedef struct block {
    struct block *next;
} block;

struct puna_call {
    const char *arguments;
    // The result so far: `{"name": value`.
    char *result;
    size_t length, room;
    block *blocks;
    exports_puna_plugin_tools_error_t *error;
};

static void *checked(void *memory) {
    if (memory == NULL) {
        abort();
    }
    return memory;
}

void *puna_allocate(puna_call *call, size_t size) {
    block *memory = checked(malloc(sizeof(block) + size));
    memory->next = call->blocks;
    call->blocks = memory;
    return memory + 1;
}

const char *puna_format(puna_call *call, const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    char *text = puna_allocate(call, (size_t)length + 1);
    vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    va_end(arguments);
    return text;
}

// Reading. The host has checked that the arguments are JSON, so nothing is checked again.

static const char *skip_space(const char *at) {
    return at + strspn(at, " \t\r\n");
}

// Past a string that begins here.
static const char *skip_string(const char *at) {
    for (at++; *at != '"'; at++) {
        if (*at == '\\') {
            at++;
        }
    }
    return at + 1;
}

// Past a value that begins here.
static const char *skip_value(const char *at) {
    size_t depth = 0;
    do {
        if (*at == '"') {
            at = skip_string(at);
        } else if (*at == '{' || *at == '[') {
            depth++;
            at++;
        } else if (*at == '}' || *at == ']') {
            depth--;
            at++;
        } else if (depth > 0 && (*at == ',' || *at == ':' || strchr(" \t\r\n", *at) != NULL)) {
            at++;
        } else {
            at += strcspn(at, ",:]} \t\r\n");
        }
    } while (depth > 0);
    return at;
}

static unsigned unit(const char *hex) {
    char digits[5] = {hex[0], hex[1], hex[2], hex[3], '\0'};
    return (unsigned)strtoul(digits, NULL, 16);
}

static char *put_utf8(char *out, unsigned code) {
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xC0 | code >> 6);
        *out++ = (char)(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        *out++ = (char)(0xE0 | code >> 12);
        *out++ = (char)(0x80 | (code >> 6 & 0x3F));
        *out++ = (char)(0x80 | (code & 0x3F));
    } else {
        *out++ = (char)(0xF0 | code >> 18);
        *out++ = (char)(0x80 | (code >> 12 & 0x3F));
        *out++ = (char)(0x80 | (code >> 6 & 0x3F));
        *out++ = (char)(0x80 | (code & 0x3F));
    }
    return out;
}

// The text of a string that begins here. It is never longer than what it is written as.
static const char *read_string(puna_call *call, const char *at) {
    static const char escapes[] = "b\bf\fn\nr\rt\t";
    char *text = puna_allocate(call, (size_t)(skip_string(at) - at));
    char *out = text;
    for (at++; *at != '"'; at++) {
        if (*at != '\\') {
            *out++ = *at;
            continue;
        }
        at++;
        const char *escape = *at == 'u' ? NULL : strchr(escapes, *at);
        if (*at == 'u') {
            unsigned code = unit(at + 1);
            at += 4;
            if (code >= 0xD800 && code < 0xDC00 && at[1] == '\\' && at[2] == 'u') {
                code = 0x10000 + ((code - 0xD800) << 10) + (unit(at + 3) - 0xDC00);
                at += 6;
            }
            out = put_utf8(out, code);
        } else {
            *out++ = escape != NULL ? escape[1] : *at;
        }
    }
    *out = '\0';
    return text;
}

// Where the argument of this name begins, or NULL where it is missing or `null`.
static const char *find(puna_call *call, const char *name) {
    const char *at = skip_space(skip_space(call->arguments) + 1);
    while (*at == '"') {
        const char *key = read_string(call, at);
        at = skip_space(skip_string(at));
        const char *value = skip_space(at + 1);
        if (strcmp(key, name) == 0) {
            return *value == 'n' ? NULL : value;
        }
        at = skip_space(skip_value(value));
        at = *at == ',' ? skip_space(at + 1) : at;
    }
    return NULL;
}

const char *puna_arguments(const puna_call *call) {
    return call->arguments;
}

const char *puna_json(puna_call *call, const char *name) {
    const char *value = find(call, name);
    return value == NULL ? NULL : puna_format(call, "%.*s", (int)(skip_value(value) - value), value);
}

const char *puna_string(puna_call *call, const char *name, const char *otherwise) {
    const char *value = find(call, name);
    return value == NULL ? otherwise : read_string(call, value);
}

double puna_number(puna_call *call, const char *name, double otherwise) {
    const char *value = find(call, name);
    return value == NULL ? otherwise : strtod(value, NULL);
}

bool puna_boolean(puna_call *call, const char *name, bool otherwise) {
    const char *value = find(call, name);
    return value == NULL ? otherwise : *value == 't';
}

// Writing.

static void put(puna_call *call, const char *text, size_t length) {
    if (call->room - call->length < length) {
        call->room = 2 * (call->room + length);
        call->result = checked(realloc(call->result, call->room));
    }
    memcpy(call->result + call->length, text, length);
    call->length += length;
}

static void put_string(puna_call *call, const char *text) {
    put(call, "\"", 1);
    for (; *text != '\0'; text++) {
        unsigned char byte = (unsigned char)*text;
        char escaped[7];
        if (byte == '"' || byte == '\\') {
            put(call, "\\", 1);
            put(call, text, 1);
        } else if (byte < 0x20) {
            snprintf(escaped, sizeof escaped, "\\u%04x", byte);
            put(call, escaped, 6);
        } else {
            put(call, text, 1);
        }
    }
    put(call, "\"", 1);
}

bool puna_add_json(puna_call *call, const char *name, const char *json) {
    put(call, call->length == 0 ? "{" : ",", 1);
    put_string(call, name);
    put(call, ":", 1);
    put(call, json, strlen(json));
    return true;
}

bool puna_add_string(puna_call *call, const char *name, const char *value) {
    puna_add_json(call, name, "");
    put_string(call, value);
    return true;
}

bool puna_add_number(puna_call *call, const char *name, double value) {
    // JSON has no other numbers; the schema of the result decides whether there may be none.
    return puna_add_json(call, name, isfinite(value) ? puna_format(call, "%.17g", value) : "null");
}

bool puna_add_boolean(puna_call *call, const char *name, bool value) {
    return puna_add_json(call, name, value ? "true" : "false");
}

bool puna_fail(puna_call *call, puna_error_kind kind, const char *path, const char *message) {
    call->error->kind = (puna_plugin_types_error_kind_t)kind;
    guest_string_dup(&call->error->message, message);
    call->error->path.is_some = path != NULL;
    if (path != NULL) {
        guest_string_dup(&call->error->path.val, path);
    }
    return false;
}

// The contract.

static bool run(puna_call *call, const char *name) {
    for (const puna_tool *tool = puna_tools; tool->name != NULL; tool++) {
        if (strcmp(tool->name, name) == 0) {
            return tool->function(call);
        }
    }
    return puna_fail(call, PUNA_NOT_FOUND, NULL, "`puna_tools` has no such tool");
}

bool exports_puna_plugin_tools_call(guest_string_t *name, guest_string_t *arguments,
                                    exports_puna_plugin_tools_list_content_t *ret,
                                    exports_puna_plugin_tools_error_t *err) {
    puna_call call = {.error = err};
    memset(err, 0, sizeof *err);
    call.arguments = puna_format(&call, "%.*s", (int)arguments->len, (const char *)arguments->ptr);
    bool done = run(&call, puna_format(&call, "%.*s", (int)name->len, (const char *)name->ptr));
    guest_string_free(name);
    guest_string_free(arguments);
    if (done) {
        put(&call, call.length == 0 ? "{}" : "}", call.length == 0 ? 2 : 1);
        ret->len = 1;
        ret->ptr = checked(malloc(sizeof *ret->ptr));
        ret->ptr->tag = EXPORTS_PUNA_PLUGIN_TOOLS_CONTENT_JSON;
        ret->ptr->val.json = (guest_string_t){(uint8_t *)call.result, call.length};
    } else {
        free(call.result);
    }
    while (call.blocks != NULL) {
        block *next = call.blocks->next;
        free(call.blocks);
        call.blocks = next;
    }
    return done;
}
