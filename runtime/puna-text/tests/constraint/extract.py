"""Selects schemas of the JSON-Schema-Test-Suite (draft 2020-12) for the tests of constraints.

    pip download --no-binary :all: --no-deps jsonschema==4.23.0 && tar xzf jsonschema-4.23.0.tar.gz
    python extract.py jsonschema-4.23.0/json

The source distribution of the Python package `jsonschema` carries the suite, whose licence is in `LICENSE` beside this.
"""

import json
import pathlib
import sys

# What is about other documents than the schema.
ELSEWHERE = {"refRemote", "vocabulary", "dynamicRef", "infinite-loop-detection", "content", "default"}

suite = pathlib.Path(sys.argv[1])
cases = []
for path in sorted((suite / "tests" / "draft2020-12").glob("*.json")):
    if path.stem in ELSEWHERE:
        continue
    for case in json.loads(path.read_text()):
        schema = case["schema"]
        if isinstance(schema, dict):
            schema.pop("$schema", None)
        values = [[test["valid"], test["data"]] for test in case["tests"]]
        cases.append({"case": f"{path.stem}: {case['description']}", "schema": schema, "values": values})
here = pathlib.Path(__file__).parent
lines = ",\n".join(json.dumps(case, ensure_ascii=True, separators=(",", ":")) for case in cases)
(here / "json_schema_test_suite.json").write_text(f"[\n{lines}\n]\n")
(here / "LICENSE").write_text((suite / "LICENSE").read_text())
print(len(cases), "cases")
