/**
 * A program that runs many command lines one after the other in one process. Its
 * argument is an array of arrays of words, in JSON. Behind the output of each
 * command line stands its exit code between two NUL characters, on both streams.
 */

import { main } from "../../cli.ts";
import { processOutput } from "../../lib/cli/output.ts";

for (const args of JSON.parse(Deno.args[0]!)) {
  const end = `\0${await main(args)}\0`;
  processOutput.out(end);
  processOutput.err(end);
}
