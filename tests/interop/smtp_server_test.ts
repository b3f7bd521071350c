/**
 * nodemailer's client against the class `SMTPServer`, which programs know from
 * the package smtp-server of the same authors.
 */

import { assertEquals } from "@std/assert";
import { SMTPServer } from "../../lib/smtp_server/mod.ts";
import { runNode } from "../support/interop/server.ts";

function refusal(responseCode: number, text: string): Error {
  return Object.assign(new Error(text), { responseCode });
}

Deno.test("nodemailer logs in, sends and is refused as the callbacks say", async () => {
  const subjects: string[] = [];
  const server = new SMTPServer({
    size: 100_000,
    authMethods: ["PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2"],
    onAuth({ method, accessToken, ...auth }, _session, callback) {
      const isGood = method === "XOAUTH2"
        ? accessToken === "token"
        : auth.validatePassword("secret");
      callback(null, isGood ? { user: auth.username } : { message: "No" });
    },
    onMailFrom({ address }, _session, callback) {
      callback(address.startsWith("deny") ? refusal(553, "No") : null);
    },
    onRcptTo({ address }, _session, callback) {
      callback(address.startsWith("deny") ? refusal(550, "No") : null);
    },
    onData(stream, session, callback) {
      let text = "";
      stream.setEncoding("latin1");
      stream.on("data", (chunk) => text += chunk);
      stream.on("end", () => {
        subjects.push(/^Subject: (.*)\r$/m.exec(text)![1]!);
        callback(null, `${session.user} ${session.transmissionType}`);
      });
    },
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.server.address() as { port: number };
  const { stdout } = await runNode("nodemailer_adapter_peer.cjs", [
    ...["127.0.0.1", port],
  ]);
  await new Promise<void>((done) => server.close(done));
  const taken = "1 taken, 0 not: 250 ann ESMTPSA";
  assertEquals(JSON.parse(stdout), {
    PLAIN: taken,
    "PLAIN wrong": "EAUTH 535",
    LOGIN: taken,
    "LOGIN wrong": "EAUTH 535",
    "CRAM-MD5": taken,
    "CRAM-MD5 wrong": "EAUTH 535",
    XOAUTH2: taken,
    "XOAUTH2 wrong": "EAUTH 535",
    anonymous: "EENVELOPE 530",
    recipient: "1 taken, 1 not: 250 ann ESMTPSA",
    sender: "EENVELOPE 553",
    large: "EMESSAGE 552",
    attachment: taken,
    pool: "30",
  });
  assertEquals(subjects.length, 4 + 1 + 1 + 30);
});
