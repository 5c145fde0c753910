"""Words the dialogues are made of, split into those for training and those held out for evaluation."""

import random
import zlib

NOUNS = """weather invoice recipe flight hotel song movie ticket parcel order refund discount calendar meeting reminder
alarm contact email message photo video playlist album podcast article headline score match league player team
restaurant menu dish drink table booking taxi train bus ferry route map traffic parking garage car bicycle scooter
battery charger lamp heater thermostat door window lock camera printer scanner phone tablet laptop server database
backup password account balance payment transfer loan mortgage stock bond fund currency budget expense salary tax
receipt contract report document folder note task project ticket bug branch commit release build test deploy
translation dictionary synonym rhyme quote poem story joke riddle quiz lesson course exam grade homework school
library book author chapter page magazine newspaper museum gallery painting sculpture concert theatre festival
holiday passport visa embassy border customs luggage suitcase tour guide beach mountain river lake forest park
garden plant flower tree seed harvest farm animal dog cat horse bird fish insect vaccine medicine pill doctor
nurse hospital clinic appointment allergy symptom diet calorie protein vitamin exercise workout yoga run swim
sleep pulse pressure temperature humidity wind rain snow storm tide sunrise sunset moon planet star galaxy
rocket satellite telescope microscope sensor robot drone motor engine pump valve pipe wire cable antenna signal
channel radio station episode series season actor director studio costume ring watch shoe shirt jacket hat
scarf sofa chair desk shelf mirror carpet curtain kitchen oven fridge kettle toaster blender knife spoon plate
coupon voucher gift card letter stamp envelope courier warehouse shelf stock inventory supplier customer client
lead campaign banner survey poll vote petition law court judge lawyer patent licence permit fine""".split()

VERBS = """get find look show fetch check read list search book order buy sell send create make add open close start
stop cancel delete remove update change set rename move copy share play pause rate review compare count track plan
schedule reserve rent lend return print scan measure test repair clean charge pay refund call invite""".split()

CITIES = """Tokyo Paris London Berlin Madrid Rome Vienna Lisbon Dublin Oslo Stockholm Helsinki Copenhagen Warsaw
Prague Budapest Athens Cairo Nairobi Lagos Accra Tunis Casablanca Dakar Johannesburg Istanbul Dubai Delhi Mumbai
Karachi Dhaka Bangkok Hanoi Jakarta Manila Seoul Beijing Shanghai Taipei Sydney Melbourne Perth Auckland Honolulu
Chicago Boston Denver Seattle Toronto Montreal Vancouver Mexico Havana Lima Bogota Quito Caracas Santiago Lyon
Porto Geneva Zurich Munich Hamburg Milan Naples Turin Krakow Riga Tallinn Vilnius Minsk Kyiv Moscow Tbilisi Baku""".split()
TWO_WORD_CITIES = ["New York", "Los Angeles", "San Francisco", "Hong Kong", "Buenos Aires", "Cape Town", "Rio de Janeiro",
                   "La Paz", "Kuala Lumpur", "New Delhi", "San Diego", "Tel Aviv", "Abu Dhabi", "Mexico City"]
NAMES = """Ada Alan Grace Linus Maria Pablo Chen Wei Yuki Hana Omar Fatima Ivan Olga Lars Ingrid Paul Anna Peter Julia
Tom Sara Ben Mia Leo Emma Noah Lucas Nina Carlos Rosa Diego Elena Marco Lucia Hugo Clara Felix Laura Oscar Ruth
David Esther Samuel Naomi Adam Eva Jonas Lea Max Zoe Kai Amir Leila Hassan Priya Arjun Ravi Anita Kofi Ama Jin
Min Soo Bob Alice Carol Dave Eve Frank Gina Henry Iris Jack Kate Liam Nora Otto Quinn Rita Sven Tina Uma Vera""".split()
COLOURS = "red blue green yellow orange purple pink brown black white grey silver gold teal navy maroon violet".split()
FOODS = """pizza pasta sushi rice soup salad bread cheese apple banana mango peach pear plum grape cherry curry taco
burger noodles waffle pancake honey olive tomato potato onion carrot pepper mushroom""".split()
LANGUAGES = """English French German Spanish Italian Dutch Polish Greek Turkish Arabic Hindi Korean Japanese Swahili
Danish Finnish Hungarian Czech Latin Welsh""".split()
JOBS = """teacher baker pilot sailor painter writer singer dancer farmer miner tailor plumber welder driver chef
waiter banker broker editor actor coach nurse surgeon dentist chemist""".split()
UNITS = [  # (names that belong together)
    "miles kilometers meters centimeters millimeters feet inches yards km cm mm mi ft m in".split(),
    "kilograms grams pounds ounces tonnes milligrams stone kg g lb oz mg".split(),
    "liters milliliters gallons pints cups quarts l ml".split(),
    "C F K celsius fahrenheit kelvin".split(),
    "seconds minutes hours days weeks".split(),
    "bytes kilobytes megabytes gigabytes KB MB GB TB".split(),
    "acres hectares".split(), "mph kmh knots".split(), "joules calories kilojoules".split(),
]
MONTHS = "January February March April May June July August September October November December".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
ATTRIBUTES = {  # what can be said of a person or a thing, with what kind of value
    "favourite colour": "colour", "favourite food": "food", "job": "job", "home town": "city", "dog": "name",
    "cat": "name", "sister": "name", "brother": "name", "language": "language", "lucky number": "number",
    "age": "age", "boss": "name", "team": "pseudo", "street": "pseudo", "phone number": "digits", "birthday": "day",
    "car": "pseudo", "code": "code", "favourite city": "city", "shoe size": "age", "door code": "digits",
    "project": "pseudo", "teacher": "name", "hotel": "pseudo", "room number": "number", "favourite drink": "pseudo",
}
THING_ATTRIBUTES = """price colour size weight age height owner author capital population length speed code origin
depth width founder leader chef sponsor mascot motto address engine flavour rating season""".split()

_ONSETS = "b c d f g h j k l m n p r s t v w z br cr dr fl gr kl pl pr sh sk sl sp st th tr".split()
_VOWELS = "a e i o u a e i o ai ea oo".split()
_CODAS = ["", "", "", "l", "n", "r", "s", "t", "m", "nd", "rk", "x", "p", "ck"]


def held_out(word: str) -> bool:
    """One word in eight is never used in training."""
    return zlib.crc32(word.lower().encode()) % 8 == 0


def pick(rng: random.Random, words, evaluation: bool = False):
    """A word; for evaluation one that training never used."""
    while True:
        word = rng.choice(words)
        if held_out(word) == evaluation:
            return word


def pseudo(rng: random.Random, evaluation: bool = False) -> str:
    """A made-up word of two or three syllables."""
    while True:
        word = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) + (rng.choice(_CODAS) if i else "")
                       for i in range(rng.choice((2, 2, 3))))
        if held_out(word) == evaluation:
            return word


FOREIGN = ["\u00c0\u024f", "\u0391\u03c9", "\u0410\u044f", "\u4e00\u9fa5", "\uac00\ud7a3", "\u3041\u30fa", "\u0627\u064a", "\u0905\u0939", "\U0001f300\U0001f64f"]  # first and last letter


def pieced(rng: random.Random, pieces) -> str:
    """A word of random pieces of the tokenizer; one in ten has letters beyond ASCII."""
    while True:
        parts = [rng.choice(pieces) for _ in range(rng.choice((1, 1, 2, 2, 3)))]
        if rng.random() < 0.1:
            first, last = rng.choice(FOREIGN)
            parts.insert(rng.randint(0, len(parts)), "".join(chr(rng.randint(ord(first), ord(last))) for _ in range(rng.choice((1, 1, 2)))))
        word = "".join(parts)
        if len(word) > 1 and not held_out(word):
            return word
