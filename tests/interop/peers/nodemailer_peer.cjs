// Sends messages with nodemailer, several at once over a pool of connections.
// Arguments: host, port, how many. Prints the bytes of each in base64, as JSON.

"use strict";

const nodemailer = require("nodemailer");

const [host, port, count] = process.argv.slice(2);

function message(number) {
  const head =
    `From: Sender <sender@example.org>\r\nSubject: nodemailer ${number}\r\n` +
    `Message-ID: <${number}@example.org>\r\n\r\n.\r\n..\r\n`;
  return Buffer.concat([
    Buffer.from(head),
    Buffer.from([...Array(128).keys()].map((octet) => octet + 128)),
    Buffer.from("\r\nlast line\r\n"),
  ]);
}

async function main() {
  const transport = nodemailer.createTransport({
    host,
    port: Number(port),
    name: "client.example",
    pool: true,
    maxConnections: 4,
    ignoreTLS: true,
  });
  const sent = [];
  for (let number = 0; number < Number(count); number++) {
    sent.push(transport.sendMail({
      envelope: {
        from: "sender@example.org",
        to: ["user@example.com", "other@example.com"],
        dsn: { id: `id-${number}`, return: "headers", notify: ["never"] },
      },
      raw: message(number),
    }));
  }
  for (const { rejected } of await Promise.all(sent)) {
    if (rejected.length > 0) throw new Error(`Rejected: ${rejected}`);
  }
  transport.close();
  const messages = sent.map((_, number) => message(number).toString("base64"));
  console.log(JSON.stringify(messages));
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
