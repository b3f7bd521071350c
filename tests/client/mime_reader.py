"""Reads messages as lines of base64, prints the parts that the email package finds as lines of JSON."""

import base64
import email
import email.policy
import json
import sys

for line in sys.stdin:
    raw = base64.b64decode(line)
    message = email.message_from_bytes(raw, policy=email.policy.SMTP)
    parts = []
    for part in message.walk():
        if part.is_multipart():
            continue
        parts.append({
            "type": part.get_content_type(),
            "encoding": str(part.get("Content-Transfer-Encoding", "7bit")),
            "bytes": base64.b64encode(part.get_payload(decode=True)).decode(),
            "defects": [repr(defect) for defect in part.defects],
        })
    print(json.dumps({
        "ascii": all(byte < 128 for byte in raw),
        "longest": max(map(len, raw.split(b"\r\n"))),
        "mime": str(message.get("MIME-Version", "")),
        "parts": parts,
    }))
