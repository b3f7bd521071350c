// Logs in with nodemailer and sends a message, once for each way and mechanism.
// Arguments: host, port of STARTTLS, port of TLS, file of the certificate to
// trust. Prints the final reply to each message, and to a wrong secret, as JSON.

"use strict";

const { readFileSync } = require("node:fs");
const nodemailer = require("nodemailer");

const [host, plainPort, tlsPort, caFile] = process.argv.slice(2);
const ca = readFileSync(caFile);

async function send({ secure, method, pass }) {
  const transport = nodemailer.createTransport({
    host,
    port: Number(secure ? tlsPort : plainPort),
    name: "client.example",
    secure,
    requireTLS: true,
    tls: { ca, servername: "mx.test" },
    authMethod: method,
    auth: { user: "alice", pass },
  });
  try {
    const { response } = await transport.sendMail({
      envelope: { from: "sender@example.org", to: ["user@example.com"] },
      raw: `Subject: ${method}\r\n\r\nText\r\n`,
    });
    return response;
  } catch (error) {
    return error.response ?? String(error);
  } finally {
    transport.close();
  }
}

async function main() {
  const results = [];
  for (const secure of [false, true]) {
    for (const method of ["PLAIN", "LOGIN", "CRAM-MD5"]) {
      results.push(await send({ secure, method, pass: "open sesame" }));
    }
    results.push(await send({ secure, method: "PLAIN", pass: "wrong" }));
  }
  console.log(JSON.stringify(results));
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
