/**
 * A program: runs many command lines one after the other in this process, which
 * starts once for all of them. Its one argument is an array of arrays of words,
 * in JSON. On both streams the exit code follows what a command line has written.
 */

import { main } from "../../cli.ts";
import { processOutput } from "../../lib/cli/output.ts";

for (const args of JSON.parse(Deno.args[0]!)) {
  const end = `\0${await main(args)}\0`;
  processOutput.out(end);
  processOutput.err(end);
}
