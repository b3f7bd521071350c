/**
 * A report on TLS as Python's `email`, `gzip` and `json` read it. Skipped where
 * Python is missing.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8460#section-5.3 | RFC 8460 section 5.3}
 */

import { assertEquals } from "@std/assert";
import { TlsDay } from "../../lib/secure_transport/tls_report.ts";
import {
  makeTlsReport,
  tlsReportMessage,
} from "../../lib/secure_transport/tls_report_mail.ts";

const SCRIPT = `
import email, email.policy, gzip, json, sys
message = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
text, report = message.iter_parts()
json.dump({
    "defects": [str(d) for part in message.walk() for d in part.defects],
    "type": message.get_content_type(),
    "reportType": message.get_param("report-type"),
    "subject": message["Subject"],
    "domain": message["TLS-Report-Domain"],
    "submitter": message["TLS-Report-Submitter"],
    "text": text.get_content_type(),
    "partType": report.get_content_type(),
    "name": report.get_filename(),
    "report": json.loads(gzip.decompress(report.get_content())),
}, sys.stdout)
`;

function hasPython(): boolean {
  try {
    return new Deno.Command("python3", { args: ["--version"] }).outputSync()
      .success;
  } catch {
    return false;
  }
}

Deno.test({
  name: "Python reads a report on TLS",
  ignore: !hasPython(),
  async fn() {
    const day = new TlsDay("2026-11-30", "a1");
    for (let at = 0; at < 50; at++) {
      day.add({
        destination: "dest.test",
        host: `mx${at}.dest.test`,
        policy: { type: "tlsa", domain: "mx.dest.test", lines: ["3 1 1 ab"] },
        outcome: "validation-failure",
        reason: `Not the certificate of "m\u00fcller" ${at}`,
      });
    }
    const head = {
      ...{ organization: "N\u00e4her GmbH", contact: "ann@near.test" },
      submitter: "near.test",
    };
    const report = await makeTlsReport(day, "dest.test", head);
    const message = tlsReportMessage(report, {
      ...{ from: "tls@near.test", to: "tls@dest.test", unique: "u1" },
      ...{ now: Date.UTC(2026, 11, 1), submitter: "near.test" },
    });
    const child = new Deno.Command("python3", {
      ...{ args: ["-c", SCRIPT], stdin: "piped", stdout: "piped" },
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(message);
    await writer.close();
    const { stdout } = await child.output();
    const id = "2026-11-30.a1.dest.test@near.test";
    assertEquals(JSON.parse(new TextDecoder().decode(stdout)), {
      defects: [],
      type: "multipart/report",
      reportType: "tlsrpt",
      subject:
        `Report Domain: dest.test Submitter: near.test Report-ID: <${id}>`,
      domain: "dest.test",
      submitter: "near.test",
      text: "text/plain",
      partType: "application/tlsrpt+gzip",
      name: "near.test!dest.test!1795996800!1796083199!a1.json.gz",
      report: JSON.parse(JSON.stringify(day.report("dest.test", head))),
    });
  },
});
