// A plugin: a function for each tool, which reads the arguments and adds the members of the result.

#include <ctype.h>

#include "puna_plugin.h"

static bool is_blank(const char *text) {
    while (isspace((unsigned char)*text)) {
        text++;
    }
    return *text == '\0';
}

static bool greet(puna_call *call) {
    const char *name = puna_string(call, "name", "");
    const char *greeting = puna_string(call, "greeting", "Hello");
    if (is_blank(name)) {
        return puna_fail(call, PUNA_INVALID_INPUT, "/name", "the name is blank; whom shall I greet?");
    }
    return puna_add_string(call, "text", puna_format(call, "%s, %s!", greeting, name));
}

const puna_tool puna_tools[] = {{"greet", greet}, {NULL, NULL}};
