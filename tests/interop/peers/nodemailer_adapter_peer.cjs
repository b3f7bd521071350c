// nodemailer against a server of the class SMTPServer: logins by each mechanism,
// a pool, one refused recipient, a refused sender, a message that is too large.
// Arguments: host, port. Prints what became of each as JSON.

"use strict";

const nodemailer = require("nodemailer");

const [host, port] = process.argv.slice(2);

const base = { host, port: Number(port), name: "client.example" };
const tls = { rejectUnauthorized: false };

async function outcome(options, mail) {
  const transport = nodemailer.createTransport({ ...base, tls, ...options });
  try {
    const { accepted, rejected, response } = await transport.sendMail({
      from: "ann@example.org",
      to: "you@example.com",
      subject: "Hello",
      text: "Hi there",
      ...mail,
    });
    return `${accepted.length} taken, ${rejected.length} not: ${response}`;
  } catch (error) {
    return `${error.code} ${error.responseCode}`;
  } finally {
    transport.close();
  }
}

async function main() {
  const user = (method, pass = "secret") => ({
    auth: { user: "ann", pass },
    authMethod: method,
  });
  const found = {};
  for (const method of ["PLAIN", "LOGIN", "CRAM-MD5"]) {
    found[method] = await outcome(user(method));
    found[`${method} wrong`] = await outcome(user(method, "wrong"));
  }
  const token = (accessToken) => ({
    auth: { type: "OAuth2", user: "ann", accessToken },
  });
  found.XOAUTH2 = await outcome(token("token"));
  found["XOAUTH2 wrong"] = await outcome(token("wrong"));
  found.anonymous = await outcome({});
  const plain = user("PLAIN");
  found.recipient = await outcome(plain, {
    to: ["you@example.com", "deny@example.com"],
  });
  found.sender = await outcome(plain, { from: "deny@example.org" });
  found.large = await outcome(plain, { text: "x".repeat(200000) });
  found.attachment = await outcome(plain, {
    attachments: [{ filename: "a.bin", content: Buffer.alloc(50000) }],
  });
  const pool = nodemailer.createTransport({
    ...{ ...base, tls, ...plain, pool: true, maxConnections: 3 },
  });
  const sent = await Promise.all(
    Array.from({ length: 30 }, (_, number) =>
      pool.sendMail({
        from: "ann@example.org",
        to: "you@example.com",
        subject: `Number ${number}`,
        text: "x",
      })),
  );
  pool.close();
  found.pool = String(sent.length);
  console.log(JSON.stringify(found));
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
