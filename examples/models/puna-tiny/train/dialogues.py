"""Synthetic dialogues in OpenAI's message form. Everything is drawn from the generator it is given, so a seed fixes it all.

`evaluation` says what is held out: None (training), "values" (new values in familiar tools and attributes) or "names"
(tool, parameter and attribute words that training never used, too).
"""

import random

from render import dumps
from words import (ATTRIBUTES, CITIES, COLOURS, DAYS, FOODS, JOBS, LANGUAGES, MONTHS, NAMES, NOUNS, THING_ATTRIBUTES,
                   TWO_WORD_CITIES, UNITS, VERBS, pick, pieced, pseudo)

SYSTEMS = ["You are a helpful assistant.", "You are the concierge. Use the tools for sums, units, dates and times. "
           "Remember what the user tells you.", "Answer briefly.", "You are a friendly helper.", "Use the tools.",
           "You help guests of a hotel.", "Be exact.", "Remember what the user tells you.", "Answer from the context."]


class Draw:
    """Random choices of one dialogue."""

    def __init__(self, rng: random.Random, evaluation=None, pieces=()):
        self.rng, self.pieces = rng, pieces
        self.held_values = evaluation is not None
        self.held_names = evaluation == "names"

    def one(self, *options):
        return self.rng.choice(options)

    def chance(self, p):
        return self.rng.random() < p

    def noun(self):
        """A word that names what a tool or an attribute is about."""
        if self.pieces and self.chance(0.12):
            return pieced(self.rng, self.pieces)
        if self.chance(0.35):
            return pseudo(self.rng, self.held_names)
        return pick(self.rng, NOUNS, self.held_names)

    def verb(self):
        return self.rng.choice(VERBS)

    def digits(self, low, high):
        return "".join(self.rng.choice("0123456789") for _ in range(self.rng.randint(low, high)))

    def number(self):
        kind = self.rng.random()
        if kind < 0.6:
            return self.rng.randint(1, 10 ** self.rng.randint(1, 5))
        return round(self.rng.uniform(0, 10 ** self.rng.randint(1, 3)), self.rng.randint(1, 2))

    def date(self):
        y, m, d = self.rng.randint(1900, 2099), self.rng.randint(1, 12), self.rng.randint(1, 28)
        return self.one(f"{y}-{m:02}-{d:02}", f"{y}-{m:02}-{d:02}", f"{d} {MONTHS[m - 1]} {y}", f"{MONTHS[m - 1]} {d}, {y}")

    def city(self):
        if self.chance(0.15):
            return self.rng.choice(TWO_WORD_CITIES)
        if self.chance(0.3):
            return self.word().capitalize()
        return pick(self.rng, CITIES, self.held_values)

    def name(self):
        return self.word().capitalize() if self.chance(0.35) else pick(self.rng, NAMES, self.held_values)

    def word(self):
        if self.pieces and self.chance(0.35):
            return pieced(self.rng, self.pieces)
        return pseudo(self.rng, self.held_values)

    def value(self, kind):
        rng = self.rng
        match kind:
            case "city": return self.city()
            case "name": return self.name()
            case "colour": return pick(rng, COLOURS, self.held_values) if self.chance(0.6) else self.word()
            case "food": return pick(rng, FOODS, self.held_values) if self.chance(0.6) else self.word()
            case "language": return pick(rng, LANGUAGES, self.held_values) if self.chance(0.7) else self.word().capitalize()
            case "job": return pick(rng, JOBS, self.held_values) if self.chance(0.7) else self.word()
            case "day": return f"{rng.randint(1, 28)} {rng.choice(MONTHS)}"
            case "date": return self.date()
            case "digits": return self.digits(3, 7)
            case "code": return self.one(self.word().upper()[:3] + self.digits(2, 4), self.word() + self.digits(1, 3), self.digits(4, 6))
            case "number": return str(rng.randint(1, 9999))
            case "age": return str(rng.randint(18, 99))
            case "pseudo": return self.word().capitalize() if self.chance(0.5) else self.word()
            case "phrase": return " ".join(self.word() if self.chance(0.4) else pick(rng, NOUNS, self.held_values) for _ in range(rng.randint(2, 4)))
            case "email": return f"{self.word()}@{self.word()}.{rng.choice(('com', 'org', 'net'))}"
        raise ValueError(kind)


# ---------------------------------------------------------------- tools

PARAMETERS = {  # name: (JSON type, kind of value, cues before the value in the user's words)
    "city": ("string", "city", ["in", "for", "of"]), "place": ("string", "city", ["in", "at"]), "location": ("string", "city", ["in", "near"]),
    "from": ("string", "city", ["from"]), "to": ("string", "city", ["to"]), "date": ("string", "date", ["on", "for"]),
    "day": ("string", "day", ["on"]), "name": ("string", "name", ["for", "named", "called"]), "person": ("string", "name", ["for", "with"]),
    "recipient": ("string", "name", ["to"]), "email": ("string", "email", ["to", "at"]), "code": ("string", "code", ["with code", "code"]),
    "id": ("string", "code", ["with id", "id", "number"]), "colour": ("string", "colour", ["in", "in the colour"]),
    "language": ("string", "language", ["in", "into"]), "title": ("string", "phrase", ["titled", "called"]),
    "text": ("string", "phrase", ["saying", "with the text"]), "query": ("string", "phrase", ["about", "for"]),
    "food": ("string", "food", ["with", "of"]), "job": ("string", "job", ["for a", "as"]),
    "amount": ("number", "n", ["of", "for"]), "price": ("number", "n", ["at", "for"]), "count": ("integer", "i", ["for", "of"]),
    "guests": ("integer", "i", ["for"]), "limit": ("integer", "i", ["up to", "at most"]), "year": ("integer", "year", ["in", "from"]),
    "minutes": ("integer", "i", ["for"]), "weight": ("number", "n", ["of", "at"]), "speed": ("number", "n", ["at"]),
    "urgent": ("boolean", "b", []), "public": ("boolean", "b", []), "express": ("boolean", "b", []),
}
AMBIGUOUS = {"for", "of", "at", "in", "with", "number"}  # cues that say nothing where several parameters follow
TAILS = {"guests": " guests", "minutes": " minutes", "count": " items"}


def parameter(d: Draw, taken):
    """One parameter: its name, schema and what draws a value with the user's words for it."""
    if d.chance(0.22):
        name = d.noun()
        if name in taken:
            return parameter(d, taken)
        kind, draw = d.one(("string", "pseudo"), ("string", "name"), ("number", "n"), ("integer", "i"), ("string", "code"))
        cues = [f"with {name}", name, f"and {name}", f"with the {name}", f"of {name}", f"for {name}", f"for the {name}"]
    else:
        name = d.rng.choice(list(PARAMETERS))
        if name in taken:
            return parameter(d, taken)
        kind, draw, cues = PARAMETERS[name]
        cues = cues + [f"with {name}"] if kind != "boolean" else cues
    schema = {}
    enum = None
    if kind == "string" and draw not in ("date", "email", "phrase") and d.chance(0.06):
        enum = list(dict.fromkeys(d.value(draw) for _ in range(3)))
        schema = {"type": "string", "enum": enum}
    else:
        if d.chance(0.25):
            schema["description"] = d.one(f"The {name}", f"{name.capitalize()} to use", f"Which {name}", f"The {name} of the {d.noun()}")
        schema["type"] = kind

    def words(avoid=()):
        """A value and the user's words for it; `avoid` holds cues that an earlier parameter took."""
        match draw:
            case _ if enum:
                value = d.rng.choice(enum)
            case "n":
                value = d.number()
            case "i":
                value = d.rng.randint(1, 10 ** d.rng.randint(1, 3))
            case "year":
                value = d.rng.randint(1900, 2099)
            case "b":
                value = d.chance(0.5)
                return value, (d.one(f"{name}: true", f"make it {name}", f"{name}") if value else d.one(f"{name}: false", f"not {name}"))
            case _:
                value = d.value(draw)
        free = [cue for cue in cues if cue not in avoid and not (avoid and cue in AMBIGUOUS)] or [f"with {name}"]
        return value, f"{d.rng.choice(free)} {value}{TAILS.get(name, '')}"

    return name, schema, words


def tool(d: Draw, taken, easy=0.0, twin=None):
    """A tool and a function that draws a request for it: (words, arguments).

    `taken` collects the nouns in use. A `twin` is (noun, verb) of a tool whose noun another one shares: only the verb
    tells them apart, so every request says it."""
    if not twin and d.chance(0.14):
        return lookup(d, taken)
    noun, verb = twin or (d.noun(), d.verb())
    while not twin and noun in taken:
        noun = d.noun()
    taken.append(noun)
    second = d.noun() if d.chance(0.15) else None
    style = d.rng.random()
    name = (f"{verb}_{noun}" if style < 0.5 else noun if style < 0.62 else f"{noun}_{verb}" if style < 0.74
            else verb + noun.capitalize() if style < 0.79 else f"{verb}_{noun}_{second}" if second else f"{verb}_{noun}")
    about = f"{noun} {second}" if second else noun
    description = d.one(f"{verb.capitalize()} the {about}.", f"{verb.capitalize()} a {about}.", f"{verb.capitalize()} {about} for the user.",
                        f"Tool to {verb} the {about}.", f"{verb.capitalize()}s the {about}.", f"Can {verb} a {about} for a {d.noun()}.")
    alias = None
    if d.chance(0.15):  # the user says a word that only the description holds
        alias = d.noun()
        description = description[:-1] + d.one(f" or the {alias}.", f" and {alias}.", f", also called {alias}.")
    count = d.rng.choices((0, 1, 2, 3), (0.03, 0.52 + easy, 0.33, 0.12))[0]
    parameters, properties = {}, {}
    for _ in range(count):
        key, schema, draw = parameter(d, parameters.keys() | {noun})
        parameters[key], properties[key] = draw, schema
    schema = {"type": "object", "properties": properties}
    if properties:
        schema["required"] = list(properties)
    function = {"name": name, "description": description, "parameters": schema}

    def request():
        said = alias if alias and d.chance(0.6) else about
        opener = d.one(f"{verb} the {said}", f"{verb} a {said}", f"Please {verb} the {said}", f"Can you {verb} the {said}", f"I want to {verb} a {said}",
                       f"What is the {said}", f"I need the {said}", f"{verb} {said}", f"Could you {verb} a {said}", f"the {said}",
                       f"Tell me the {said}", f"I would like a {said}", f"Help me {verb} the {said}", said)
        if twin and verb not in opener.lower():
            opener = d.one(f"{verb} the {said}", f"Please {verb} a {said}", f"I want to {verb} the {said}")
        drawn = []
        for key, draw in parameters.items():
            drawn.append((key, *draw([p.split(" ")[0] for _, _, p in drawn])))
        parts = [phrase for _, _, phrase in drawn]
        if d.chance(0.3):
            d.rng.shuffle(parts)
        text = " ".join([opener] + parts) if d.chance(0.7) else (" ".join([opener] + parts[:1] + ["and " + p for p in parts[1:]]))
        if d.chance(0.7) and not text.startswith(said):  # a capital would change the word that must match
            text = text[0].upper() + text[1:]
        text += d.one("", ".", "?", "", " please", "!")
        return text, {key: value for key, value, _ in drawn}

    return function, request


def lookup(d: Draw, taken):
    """A tool that tells one property of one kind of thing, as `room_price` does, and its requests."""
    noun, thing = d.noun(), d.noun()
    while noun in taken or thing in taken or noun == thing:
        noun, thing = d.noun(), d.noun()
    taken.append(noun)
    name = d.one(f"{thing}_{noun}", f"{noun}_of_{thing}", f"get_{noun}", noun, f"{d.verb()}_{noun}", f"get_{thing}_{noun}", f"get_{noun}_of_{thing}", f"{thing}{noun.capitalize()}")
    description = d.one(f"Tell the {noun} of a {thing}.", f"The {noun} of a {thing}.", f"Tells the {noun} of a {thing} of the {d.noun()}.", f"Looks up the {noun} of a {thing}.",
                        f"Get the {noun} for a {thing}.", f"Tell the {noun} of the {thing}.", f"Find the {noun} of a {thing}.", f"The {thing}'s {noun}.")
    key = d.one(thing, thing, d.one("name", "id", "number"))
    kind, draw = d.one(("integer", "i"), ("string", "pseudo"), ("string", "code"), ("string", "name"), ("string", "city"), ("number", "n"))
    schema = {"description": d.one(f"The {thing}", f"The {key} of the {thing}", f"Which {thing}")} if d.chance(0.4) else {}
    function = {"name": name, "description": description,
                "parameters": {"type": "object", "properties": {key: {**schema, "type": kind}}, "required": [key]}}

    def request():
        value = d.rng.randint(1, 10 ** d.rng.randint(1, 4)) if draw == "i" else d.number() if draw == "n" else d.value(draw)
        said = f"{d.one(thing, thing, 'the ' + thing, '')} {value}".strip()
        text = d.one(f"What is the {noun} of {said}", f"what is the {noun} of {said}", f"What's the {noun} of {said}", f"Tell me the {noun} of {said}", f"What {noun} does {said} have",
                     f"I need the {noun} of {said}", f"{noun} of {said}", f"Can you tell me the {noun} of {said}", f"What is the {noun} for {said}", f"Look up the {noun} of {said}", f"And the {noun} of {said}",
                     f"Do you know the {noun} of {said}")
        return polite(d, text) + d.one("?", "?", "?", "", "."), {key: value}

    return function, request


def expression(d: Draw):
    """A sum as people type it; the model copies it word for word."""
    a = lambda: str(d.number() if d.chance(0.5) else d.rng.randint(1, 9999))
    s = lambda: str(d.rng.randint(1, 99))
    if d.chance(0.1):  # the same number again: the copy must go on from the right place
        a = s = lambda number=d.one(a, s)(): number
    return d.one(
        lambda: f"{a()} {d.one('times', 'plus', 'minus', 'divided by', 'x', '*', '+', '-', '/', 'multiplied by', 'over', 'times')} {a()}",
        lambda: f"{a()}{d.one('*', '+', '-', '/', '^')}{a()}",
        lambda: f"{s()}% of {a()}", lambda: f"{s()} percent of {a()}", lambda: f"({s()} + {s()}) * {s()}", lambda: f"{a()} {d.one('+', 'plus')} {s()} {d.one('*', 'times')} {s()}",
        lambda: f"{s()} squared", lambda: f"{s()} to the power of {d.rng.randint(2, 9)}", lambda: f"the square root of {a()}", lambda: f"{a()} minus {s()}%",
        lambda: f"half of {a()}", lambda: f"{d.rng.randint(1000, 9999999):,} {d.one('times', 'plus', 'minus', '+')} {d.rng.randint(1000, 9999999):,}",
        lambda: f"-{s()} {d.one('+', '*', 'plus', 'minus')} {s()}", lambda: f"{s()} * ({s()} - {s()})", lambda: f"{a()} + {a()} + {a()}", lambda: f"sqrt({a()})")()


def _function(name, description, properties):
    return {"name": name, "description": description, "parameters": {"type": "object", "properties": properties, "required": list(properties)}}


STRING, NUMBER = {"type": "string"}, {"type": "number"}
CONCIERGE = {
    "calculate": _function("calculate", "Work out an arithmetic expression exactly.", {"expression": {
        "description": "The expression in digits or words, for example 12 times 3 or 15% of 80", "type": "string"}}),
    "convert_units": _function("convert_units", "Convert an amount from one unit to another.", {"amount": NUMBER, "from": STRING, "to": STRING}),
    "current_time": _function("current_time", "Tell the current date and time in a city or time zone.", {"place": STRING}),
    "days_between": _function("days_between", "Count the days between two dates.", {"start": STRING, "end": STRING}),
    "weekday": _function("weekday", "Tell which day of the week a date falls on.", {"date": STRING}),
}


def polite(d: Draw, text):
    """Words around a request that change nothing."""
    if d.chance(0.12):
        text = d.one("Hey, ", "Hi, ", "OK, ", "Now ", "Great, ", "Thanks, ", "Hello, ", "Please, ", "And now ", "So, ") + text[0].lower() + text[1:]
    return text + d.one(" please", ", please", " for me", " then", " thanks") if d.chance(0.1) else text


def concierge_request(d: Draw, name):
    """(words, arguments, result, answer) for one of the concierge's tools."""
    end = d.one("?", "?", "?", "", ".")
    match name:
        case "calculate":
            e = expression(d)
            value = str(d.number()) if d.chance(0.6) else d.digits(5, 12).lstrip("0") or "0"
            text = d.one(f"What is {e}", f"what's {e}", f"What's {e}", f"Calculate {e}", f"calculate {e}", f"How much is {e}", f"Please work out {e}", f"Work out {e}",
                         f"Can you tell me {e}", f"{e}", f"Compute {e}", f"And {e}", f"Tell me {e}", f"What does {e} make", f"I need to know {e}",
                         f"what is {e}", f"Can you calculate {e}", f"Could you work out {e}", f"how much is {e}", f"And what is {e}", f"solve {e}", f"Can you tell me what {e} is", f"tell me what {e} is", f"Do you know what {e} makes",
                         f"What is {e} equal to", f"Please compute {e} for me", f"What would {e} be", f"Could you calculate {e} for me", f"What do I get for {e}")
            return polite(d, text) + end, {"expression": e}, {"value": value}, f"{e} is {value}."
        case "convert_units":
            group = d.rng.choice(UNITS)
            a, b = d.rng.sample(group, 2)
            n, value = d.number() if d.chance(0.92) else -d.number(), str(d.number())
            text = d.one(f"Convert {n} {a} to {b}", f"convert {n} {a} to {b}", f"What is {n} {a} in {b}", f"How many {b} are in {n} {a}", f"how many {b} is {n} {a}",
                         f"{n} {a} in {b}", f"Turn {n} {a} into {b}", f"How much is {n} {a} in {b}", f"Please convert {n} {a} into {b}", f"what's {n} {a} in {b}",
                         f"Can you convert {n} {a} to {b}", f"{n} {a} to {b}", f"And {n} {a} in {b}", f"How many {b} are there in {n} {a}", f"Express {n} {a} in {b}", f"Can you tell me how many {b} {n} {a} are",
                         f"I need {n} {a} in {b}", f"How many {b} make {n} {a}", f"Change {n} {a} to {b}", f"What would {n} {a} be in {b}")
            if a in ("celsius", "fahrenheit", "C", "F") and d.chance(0.4):
                text = text.replace(f"{n} {a}", f"{n} degrees {a}")
            return polite(d, text) + end, {"amount": n, "from": a, "to": b}, {"value": value, "unit": b}, f"{n} {a} is {value} {b}."
        case "current_time":
            p = d.city() if d.chance(0.8) else d.one("UTC", "GMT", "EST", "UTC+9", "CET", "Europe/Paris", "Asia/Tokyo")
            p = p.lower() if d.chance(0.1) else p
            w, date, time = d.rng.choice(DAYS), f"{d.rng.randint(2020, 2039)}-{d.rng.randint(1, 12):02}-{d.rng.randint(1, 28):02}", f"{d.rng.randint(0, 23):02}:{d.rng.randint(0, 59):02}"
            zone = d.one("Asia", "Europe", "America", "Africa", "Australia") + "/" + p.replace(" ", "_")
            text = d.one(f"What time is it in {p}", f"what time is it in {p}", f"What is the time in {p}", f"Tell me the time in {p}", f"Current time in {p}", f"What's the time in {p}",
                         f"What day is it in {p} now", f"What is the date in {p}", f"How late is it in {p}", f"time in {p}", f"And in {p}", f"Do you know the time in {p}",
                         f"What is the current time in {p}", f"What time is it now in {p}", f"Please tell me what time it is in {p}", f"Do you know what time it is in {p}",
                         f"What time do they have in {p}", f"Is it late in {p}", f"Give me the time in {p}", f"What is today's date in {p}", f"Can you tell me the current time in {p}")
            text += d.one("", "", "", " right now", " now", " at the moment", " today")
            return polite(d, text) + end, {"place": p}, {"date": date, "time": time, "weekday": w, "zone": zone}, f"It is {time} on {w}, {date} in {p}."
        case "days_between":
            s, e, n = d.date(), d.date(), d.rng.randint(-999, 99999) if d.chance(0.7) else d.rng.randint(0, 400)
            text = d.one(f"How many days are between {s} and {e}", f"How many days from {s} to {e}", f"Days between {s} and {e}", f"count the days between {s} and {e}",
                         f"How many days are there from {s} to {e}", f"how many days between {s} and {e}", f"How long is it from {s} until {e} in days", f"How many days lie between {s} and {e}",
                         f"Tell me how many days there are between {s} and {e}", f"How many days is it from {s} to {e}", f"Number of days from {s} to {e}", f"I want the days between {s} and {e}")
            return polite(d, text) + end, {"start": s, "end": e}, {"days": n}, f"There are {n} days between {s} and {e}."
        case "weekday":
            date, w = d.date(), d.rng.choice(DAYS)
            text = d.one(f"What day of the week is {date}", f"What weekday is {date}", f"Which weekday was {date}", f"On which day does {date} fall", f"What day was {date}",
                         f"which day of the week is {date}", f"Tell me the weekday of {date}", f"what day is {date}", f"Is {date} a Monday", f"What day of the week was {date}", f"Which day is {date}", f"On what weekday does {date} fall", f"Which day of the week does {date} fall on",
                         f"Can you tell me the weekday of {date}", f"What day of the week will {date} be", f"I was born on {date}, what weekday was that", f"weekday of {date}")
            return polite(d, text) + end, {"date": date}, {"weekday": w}, f"{date} is a {w}."


GLUE = "the a is was not no of in for to it and or cannot be has only must read given with too at most name one".split()
ERRORS = ["no {x} found", "unknown {x} `{y}`", "the service is not available", "the {x} is not valid", "division by zero", "unknown place `{y}`",
          "timed out", "permission denied", "cannot read `{y}`", "no such {x}", "no city `{y}`", "unknown unit `{y}`", "`{y}` is not a date",
          "plugin `{y}` was not granted `{x}`; add it under the plugin's `grants`", "the call cannot be read: {x} {y}; write it as one JSON object",
          "`{x}` is missing", "`{x}` must be a number, not `{y}`", "the {x} may have at most {n} {x}s", "no answer within {n} ms", "the tool did not answer in time",
          "did not expect `{y}` in `{x}`", "expected a number, got `{y}`", "no tool `{y}`; there are {x} and {x}_{y}", "the {x} `{y}` is not known; try again later"]


def result_for(d: Draw, noun):
    """A made-up result and the answer that tells it."""
    keys = [noun if d.chance(0.3) else d.one("value", "status", "result", "total", "price", "id", "name", "count", d.noun())]
    if d.chance(0.35):
        other = d.one("status", "date", "total", "unit", "place", d.noun())
        keys += [other] if other not in keys else []
    values = [d.one(lambda: d.value("pseudo"), lambda: d.number(), lambda: d.value("code"), lambda: d.value("city"), lambda: d.value("name"),
                    lambda: d.one("open", "closed", "sent", "done", "booked", "ready", "cancelled"), lambda: d.date())() for _ in keys]
    answer = " and ".join(f"the {k} is {v}" for k, v in zip(keys, values)) + "."
    return dict(zip(keys, values)), answer[0].upper() + answer[1:]


def failure(d: Draw):
    """A tool's error, a known one or any words, and the answer that passes it on."""
    if d.chance(0.5):
        message = d.rng.choice(ERRORS).format(x=d.noun(), y=d.word(), n=d.rng.randint(2, 9999))
    else:
        words = [d.one(d.noun, d.word, lambda: d.rng.choice(GLUE), lambda: d.rng.choice(GLUE), lambda: f"`{d.word()}`", lambda: str(d.rng.randint(0, 9999)))()
                 for _ in range(d.rng.randint(2, 14))]
        message = " ".join(word + d.one(",", ";", ":") if d.chance(0.08) and i + 1 < len(words) else word for i, word in enumerate(words))
    return {"error": message}, f"I could not do that: {message}."


# ---------------------------------------------------------------- dialogues

ALIKE = [("work", "job"), ("old", "age"), ("where", "from", "home town", "street"), ("like", "favourite food")]  # one told, the other is not "not told"
SAID_OF_ME = {  # key: (kind of value, what the user says, questions, the answer, the answer where it was not said)
    "where": ("city", ["I live in {}", "i live in {}", "My home is in {}"], ["Where do I live?", "where do I live", "Do you know where I live?"],
              "You live in {}.", "You have not told me where you live."),
    "from": ("city", ["I am from {}", "I come from {}", "I'm from {}"], ["Where am I from?", "Where do I come from?"], "You are from {}.", "You have not told me where you are from."),
    "like": ("food", ["I like {}", "I love {}", "i really like {}"], ["What do I like?", "what do I like"], "You like {}.", "You have not told me what you like."),
    "work": ("job", ["I work as a {}", "I am a {}", "I'm a {}"], ["What do I work as?", "What do I do for a living?"], "You work as a {}.", "You have not told me what you work as."),
    "old": ("age", ["I am {} years old", "I'm {} years old", "I am {}"], ["How old am I?", "how old am I"], "You are {} years old.", "You have not told me how old you are."),
}

class Dialogue:
    """Messages being collected."""

    def __init__(self, d: Draw, system=None):
        self.d, self.tools, self.messages, self.facts = d, [], [], {}
        if system or d.chance(0.7):
            self.messages.append({"role": "system", "content": system or d.rng.choice(SYSTEMS)})

    def say(self, text, answer):
        self.messages += [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]

    def call(self, text, name, arguments):
        self.messages += [{"role": "user", "content": text}, {"role": "assistant", "content": "", "tool_calls": [
            {"type": "function", "id": f"call_{len(self.messages)}", "function": {"name": name, "arguments": arguments}}]}]

    def result(self, value, answer):
        self.messages += [{"role": "tool", "content": dumps(value)}, {"role": "assistant", "content": answer}]

    # -- chat
    def greet(self):
        self.say(*self.d.one(
            (self.d.one("Hello", "Hi", "Hey", "hello", "hi there", "Hello!", "Hi!", "Good evening", "Hello there", "hey", "Greetings"), "Hello! How can I help?"),
            (self.d.one("Good morning", "Good morning!", "good morning"), "Good morning! How can I help?"),
            (self.d.one("Thanks", "Thank you", "thanks!", "Thank you very much", "Great, thanks", "thank you!", "Thanks a lot!", "Thanks a lot", "Many thanks", "thx", "Ok, thank you", "Thank you so much!", "That helps, thanks"), "You are welcome."),
            (self.d.one("Bye", "Goodbye", "See you", "bye!", "Goodbye!", "Bye bye", "See you later", "Good night", "That is all, bye", "see you tomorrow!"), "Goodbye!"),
            (self.d.one("Who are you?", "What are you?", "who are you", "Tell me about yourself", "Hi, who are you?", "What is your name?", "what's your name", "Are you a robot?", "Are you human?"), "I am a small Llama that runs in Puna."),
            (self.d.one("How are you?", "how are you", "How are you today?", "How do you do?"), "I am well, thank you. How can I help?"),
            (self.d.one("What can you do?", "Help", "what can you do", "How can you help me?"), "I can call tools, answer from a context and remember what you tell me."),
            (self.d.one("OK", "ok", "Good", "Great", "Nice", "Perfect", "Cool"), "Is there anything else?")))

    def unknown(self):
        """What neither a tool nor the conversation answers."""
        d = self.d
        x, y, n = d.value("pseudo").capitalize(), d.one(d.city(), d.name()), d.noun()
        self.say(d.one(f"Tell me a joke", f"Tell me a joke about {n}", f"What is the capital of {y}?", f"Who wrote {x}?", f"Why is the {n} {d.value('colour')}?", f"Write a poem about {n}",
                       f"Who is {d.name()}?", f"Who is the president of {y}?", f"Why do {n}s sleep?", f"Sing me a song", f"What is the meaning of life?", f"Who invented the {n}?",
                       f"What do you think about {n}?", f"Do you like {n}?", f"Write me a story about {y}", f"How does a {n} work?", f"Who won the {n}?", f"Explain {n} to me",
                       f"When was {x} born?", f"Where is {y}?", f"What is a {n}?", f"How old is {d.name()}?", f"what is the population of {y}", f"Which {n} is the best?"), "I do not know that.")

    # -- memory
    def attribute(self):
        d = self.d
        if d.held_names or d.chance(0.3):
            return d.one("", "favourite ", "") + d.noun(), "pseudo"
        return d.rng.choice(list(ATTRIBUTES.items()))

    def tell(self):
        d, kind = self.d, self.d.rng.random()
        if kind < 0.27:
            name = d.name()
            self.facts["name"] = name
            said = d.one(f"My name is {name}", f"I am {name}", f"my name is {name}", f"Call me {name}", f"Hello, I am {name}", f"Hi, my name is {name}", f"I'm {name}", f"Hi, I'm {name}", f"The name is {name}")
            answer = f"Nice to meet you, {name}."
            if d.chance(0.25):
                attribute, value = self.fact()
                said += d.one(" and", ", and", ".") + f" my {attribute} is {value}"
                if d.chance(0.5):
                    said = f"My {attribute} is {value} and my name is {name}"
                answer += f" Noted: your {attribute} is {value}."
            self.say(said + d.one(".", "", "!", "."), answer)
        elif kind < 0.42:
            key = d.rng.choice(list(SAID_OF_ME))
            values, said, _, answer, _ = SAID_OF_ME[key]
            value = d.value(values)
            self.facts[key] = value
            self.say(d.rng.choice(said).format(value) + d.one(".", "", "."), "Noted: y" + answer.format(value)[1:])
        else:
            attribute, value = self.fact()
            said, answer = d.one(f"My {attribute} is {value}", f"my {attribute} is {value}", f"My {attribute} is called {value}"), f"your {attribute} is {value}"
            if d.chance(0.12):
                second, other = self.fact(attribute)
                if second:
                    said, answer = f"{said} and my {second} is {other}", f"{answer} and your {second} is {other}"
            opening = d.one("", "", "", "Remember that ", "Please remember: ", "Note that ", "By the way, ", "Actually, ", "Please note that ")
            said = opening + (said[0].lower() + said[1:] if opening else said)
            self.say(said + d.one(".", "", "."), f"Noted: {answer}.")

    def fact(self, other_than=None):
        """An attribute with a new value; now and then one already told, which the new value replaces."""
        known = [key for key in self.facts if key != "name" and key not in SAID_OF_ME]
        attribute, kind = (self.d.rng.choice(known), "pseudo") if known and self.d.chance(0.2) else self.attribute()
        if attribute == other_than:
            return None, None
        self.facts[attribute] = self.d.value(ATTRIBUTES.get(attribute, kind))
        return attribute, self.facts[attribute]

    def recall(self, known=True):
        d = self.d
        told = bool(known and self.facts)
        if told:
            attribute = d.rng.choice(list(self.facts))
        else:
            attribute = d.one("name", d.rng.choice(list(SAID_OF_ME))) if d.chance(0.3) else self.attribute()[0]
            if attribute in self.facts or any(attribute in alike and set(alike) & set(self.facts) for alike in ALIKE):
                return
        if attribute in SAID_OF_ME:
            _, _, questions, answer, unknown = SAID_OF_ME[attribute]
            self.say(d.rng.choice(questions), answer.format(self.facts[attribute]) if told else unknown)
            return
        answer = f"Your {attribute} is {self.facts[attribute]}." if told else f"You have not told me your {attribute}."
        self.say(d.one(f"What is my {attribute}?", f"what is my {attribute}?", f"What's my {attribute}?", f"Do you remember my {attribute}?", f"Tell me my {attribute}.",
                       f"Can you tell me my {attribute}?", f"Do you know my {attribute}?", f"what's my {attribute}", f"And what is my {attribute}?", f"What was my {attribute}?"), answer)

    # -- context
    def context(self, *present):
        """A context and a question about it for each of `present`: whether the context holds the answer."""
        d, facts = self.d, []
        while len(facts) < d.rng.randint(2, 5):
            thing = d.value("pseudo").capitalize() if d.chance(0.7) else d.one(d.name(), d.city())
            attribute = d.rng.choice(THING_ATTRIBUTES) if not d.held_names and d.chance(0.7) else d.noun()
            if any(f[:2] == (attribute, thing) for f in facts):
                continue
            if facts and d.chance(0.3):  # the same thing or attribute twice: both words count
                attribute, thing = d.one((attribute, facts[-1][1]), (facts[-1][0], thing))
                if any(f[:2] == (attribute, thing) for f in facts):
                    continue
            value = str(d.value(d.one("pseudo", "number", "city", "name", "colour", "code")))
            if value.isdigit() and d.chance(0.3):
                value += d.one(" m", " kg", " euros", " years", " km")
            facts.append((attribute, thing, value))
        lines = [d.one(f"The {a} of {t} is {v}.", f"The {a} of {t} is {v}.", f"{t} has the {a} {v}.", f"{t}: {a} {v}.", f"{v} is the {a} of {t}.") for a, t, v in facts]
        if d.chance(0.4):
            lines = [f"[{i + 1}] {line}" for i, line in enumerate(lines)]
        text = f"Context:\n{d.one(chr(10), ' ').join(lines)}\n\nQuestion: "
        for held in present:
            question = self.question(facts, held)
            self.say(text + (question[0].lower() + question[1:] if text == "And " and question[0] in "WTD" else question), self.answer)
            text = d.one("", "", "And ", "Question: ")

    def question(self, facts, held):
        """A question about the facts; sets the answer to it."""
        d = self.d
        a, t, v = d.rng.choice(facts)
        self.answer = f"The {a} of {t} is {v}."
        if not held:
            others = [(x, y) for x, _, _ in facts for _, y, _ in facts if not any(f[:2] == (x, y) for f in facts)]
            if others and d.chance(0.5):
                a, t = d.rng.choice(others)
            while any(f[:2] == (a, t) for f in facts):
                if d.chance(0.5):
                    a = d.noun() if d.held_names or d.chance(0.5) else d.rng.choice(THING_ATTRIBUTES)
                else:
                    t = d.one(d.word().capitalize(), d.name(), d.city())
            self.answer = "The context does not say."
        return d.one(f"What is the {a} of {t}?", f"What is the {a} of {t}?", f"what is the {a} of {t}?", f"Tell me the {a} of {t}.", f"What's the {a} of {t}?", f"Do you know the {a} of {t}?", f"{a} of {t}?")

    # -- copies
    def copy(self):
        d = self.d
        text = d.one(lambda: " ".join(d.word() for _ in range(d.rng.randint(1, 8))), lambda: d.digits(3, 12), lambda: d.value("phrase"), lambda: d.value("email"),
                     lambda: d.date(), lambda: expression(d), lambda: ", ".join(d.city() for _ in range(3)))()
        self.say(d.one(f"Repeat: {text}", f"Say {text}", f"Repeat after me: {text}"), text)

    def pairs(self):
        d = self.d
        table = {d.noun() if d.chance(0.5) else d.word(): d.value(d.one("pseudo", "number", "code", "city")) for _ in range(d.rng.randint(2, 6))}
        first = True
        for key in d.rng.sample(list(table), min(len(table), 4)):
            listing = d.one("; ", "\n").join(f"{k}: {v}" for k, v in table.items())
            self.say((f"{listing}\n" if first else "") + f"Value of {key}?", f"{table[key]}")
            first = False

    # -- tools
    def add_tools(self, functions):
        functions = list(functions)
        self.d.rng.shuffle(functions)
        self.tools = [{"type": "function", "function": f} for f in functions]

    def use(self, request, with_result=0.6):
        d = self.d
        name, text, arguments, value, answer = request()
        self.call(text, name, arguments)
        if d.chance(with_result):
            if d.chance(0.12):
                value, answer = failure(d)
            self.result(value, answer)


def toolbox(d: Draw, synthetic, concierge, easy=0.0):
    """Tools and, for each, a function that draws (name, words, arguments, result, answer)."""
    functions, requests, taken = [], [], []
    twins = []
    if synthetic >= 2 and d.chance(0.2):
        noun, verbs = d.noun(), d.rng.sample(VERBS, 2)
        twins = [(noun, verb) for verb in verbs]
    for index in range(synthetic):
        function, request = tool(d, taken, easy, twins[index] if index < len(twins) else None)

        def ask(function=function, request=request, noun=taken[-1]):
            text, arguments = request()
            return (function["name"], text, arguments, *result_for(d, noun))
        functions.append(function)
        requests.append(ask)
    for name in concierge:
        functions.append(CONCIERGE[name])
        requests.append(lambda name=name: (name, *concierge_request(d, name)))
    return functions, requests


def tool_dialogue(d: Draw, turns, level=1.0):
    """Several requests over the same tools. `level` from 0 (two small tools) to 1 (up to six)."""
    dialogue = Dialogue(d)
    kind = d.rng.random()
    if kind < 0.28 * max(level, 0.5):
        names = list(CONCIERGE) if d.chance(0.6) else d.rng.sample(list(CONCIERGE), d.rng.randint(1, 4))
        count = 0 if d.chance(0.5) else d.rng.randint(1, 2)
    else:
        names, count = [], d.rng.choices((1, 2, 3, 4, 5), (0.15, 0.35, 0.25, 0.2, 0.05) if level >= 1 else (0.2, 0.6, 0.2, 0, 0))[0]
    functions, requests = toolbox(d, count, names, 1.0 - level)
    dialogue.add_tools(functions)
    with_result = d.one(0.0, 0.5, 1.0)
    for _ in range(turns):
        other = d.rng.random()
        if other < 0.05:
            dialogue.greet()
        elif other < 0.09:
            dialogue.unknown()
        elif other < 0.18:
            dialogue.tell()
        elif other < 0.28:
            dialogue.recall(d.chance(0.8))
        else:
            added = requests[:count] if count and names and d.chance(0.4) else requests
            dialogue.use(d.rng.choice(added), with_result)
    return dialogue


def dialogue(rng: random.Random, progress: float, pieces=()):
    """A training dialogue. `progress` from 0 to 1 moves from copying to the final mix. `pieces` are the tokenizer's: words
    made of them make the model copy every token, not only those that its word lists are made of."""
    d = Draw(rng, pieces=pieces)
    fade = max(0.0, 1 - progress / 0.25)
    kind = rng.random()
    if kind < 0.05 + 0.37 * fade:
        out = Dialogue(d)
        for _ in range(rng.randint(2, 6)):
            out.pairs() if d.chance(0.35) else out.copy()
        return out
    kind = rng.random()
    if kind < 0.47:
        return tool_dialogue(d, rng.randint(4, 9), 1 - fade)
    out = Dialogue(d)
    if d.chance(0.1):
        out.add_tools(CONCIERGE.values())
    if kind < 0.78:
        for _ in range(rng.randint(1, 3)):
            out.context(*(d.chance(0.65) for _ in range(rng.randint(2, 6))))
    elif kind < 0.95:
        for _ in range(rng.randint(3, 10)):
            step = rng.random()
            out.tell() if step < 0.4 else out.recall(d.chance(0.75)) if step < 0.85 else out.greet() if step < 0.95 else out.unknown()
    else:
        for _ in range(rng.randint(1, 4)):
            out.greet() if d.chance(0.6) else out.unknown()
    return out
