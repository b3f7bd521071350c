// Haraka plugin: takes every recipient and keeps each message as a file in the
// folder KEEP; keeps nothing where that is empty.

"use strict";

const fs = require("node:fs");

const folder = process.env.KEEP;
let count = 0;

exports.hook_rcpt = (next) => next(OK);

exports.hook_queue = (next, connection) => {
  if (!folder) return next(OK);
  const path = `${folder}/${count++}`;
  connection.transaction.message_stream.get_data((octets) => {
    fs.writeFileSync(`${path}.new`, octets);
    fs.renameSync(`${path}.new`, `${path}.eml`);
    next(OK);
  });
};
