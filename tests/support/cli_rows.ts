/**
 * A program that runs many command lines one after the other in one process. Its
 * argument is an array of rows in JSON: an array of words, or an object of them
 * and the environment variables of this command line. Behind the output of each
 * command line stands its exit code between two NUL characters, on both streams.
 */

import { main } from "../../cli.ts";
import { processOutput } from "../../lib/cli/output.ts";

for (const row of JSON.parse(Deno.args[0]!)) {
  const { args, env } = Array.isArray(row) ? { args: row, env: {} } : row;
  for (const name in env) Deno.env.set(name, env[name]);
  const end = `\0${await main(args)}\0`;
  for (const name in env) Deno.env.delete(name);
  processOutput.out(end);
  processOutput.err(end);
}
