# Reads Authentication-Results with Python's authres, and makes some.
# Standard input: { "fields": [text], "make": [[method, result, reason, [type, name, value]...]] }.
# Prints { "read": [[id, [[method, result, reason, {property: value}]...]]], "made": [text] }.

import json
import re
import sys

from authres import AuthenticationResult, all_features
from authres.core import AuthenticationResultProperty as Property
from authres.core import AuthenticationResultsHeader as Header


def read(field):
    header = Header.parse(all_features(), field.replace("\r\n", ""))
    rows = []
    for one in header.results:
        reason = one.reason and re.sub(r"\\(.)", r"\1", one.reason)
        values = {f"{p.type}.{p.name}": p.value for p in one.properties}
        rows.append([one.method, one.result, reason, values])
    return [header.authserv_id, rows]


def make(method, result, reason, properties):
    results = [
        AuthenticationResult(
            method, None, result, "a (nested) comment", reason, None,
            [Property(*one) for one in properties],
        )
    ]
    return str(Header(all_features(), "mx.example.org", results=results))


given = json.load(sys.stdin)
json.dump(
    {
        "read": [read(field) for field in given["fields"]],
        "made": [make(*row) for row in given["make"]],
    },
    sys.stdout,
)
