// nodemailer's smtp-server with its defaults: keeps each message as a file.
// Arguments: host, port, largest message, certificate, key, folder ("" keeps nothing).

"use strict";

const fs = require("node:fs");
const { SMTPServer } = require("smtp-server");

const [host, port, size, cert, key, folder] = process.argv.slice(2);
let count = 0;

new SMTPServer({
  authOptional: true,
  disableReverseLookup: true,
  logger: false,
  size: Number(size),
  ...(cert ? { cert: fs.readFileSync(cert), key: fs.readFileSync(key) } : {}),
  ...(folder ? {} : { maxClients: Infinity, disabledCommands: ["STARTTLS"] }),
  onData(stream, _session, callback) {
    if (!folder) {
      stream.resume();
      stream.on("end", callback);
      return;
    }
    const chunks = [];
    stream.on("data", (chunk) => chunks.push(chunk));
    stream.on("end", () => {
      const path = `${folder}/${count++}`;
      fs.writeFileSync(`${path}.new`, Buffer.concat(chunks));
      fs.renameSync(`${path}.new`, `${path}.eml`);
      callback();
    });
  },
}).listen(Number(port), host);
