# Checks senders by SPF with pyspf over a table of records. Argument: a JSON file
# with "zone", "cases" and "fields". Prints the results as JSON: result and
# explanation; and what it reads from the Received-SPF fields.

import json
import sys

import spf

with open(sys.argv[1]) as file:
    given = json.load(file)
zone = given["zone"]


def lookup(name, kind, strict=True, timeout=20):
    records = zone.get(name.lower().rstrip("."), {}).get(kind, [])
    if records == "failed":
        raise spf.TempError("DNS no answer")
    if kind == "TXT":
        return [((name, kind), [text.encode()]) for text in records]
    if kind == "MX":
        return [((name, kind), (mx["preference"], mx["exchange"])) for mx in records]
    return [((name, kind), record) for record in records]


spf.DNSLookup = lookup
found = []
for case in given["cases"]:
    result, explanation = spf.check2(
        i=case["ip"],
        s=case["from"],
        h=case["helo"],
        receiver=case["receiver"],
    )
    found.append([result, explanation])
read = []
for field in given["fields"]:
    query = spf.query("0.0.0.0", "", "")
    query.parse_header_spf(field.replace("\r\n", ""))
    read.append(
        [query.result, query.c, query.s, query.h, query.r, query.ident, query.mechanism]
    )
json.dump({"found": found, "read": read}, sys.stdout)
