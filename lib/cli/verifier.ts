/**
 * `cli.ts verifier NAME`: makes a line for the accounts file out of a secret,
 * which is read from standard input and shown nowhere.
 */

import { ScramVerifier } from "../sasl/scram_verifier.ts";
import type { Output } from "./serve.ts";
import { UsageError } from "./usage.ts";

/** Runs the command; resolves with the exit code. */
export async function verifier(
  args: readonly string[],
  output: Output,
): Promise<number> {
  const [name, more] = args;
  if (name === undefined || more !== undefined || /[:\s]/.test(name)) {
    throw new UsageError(
      "Command verifier: want one NAME, without colon or blank",
    );
  }
  const secret = await readSecret(output);
  if (secret === "") {
    throw new UsageError("Command verifier: want a secret on standard input");
  }
  output.out(`${name}:${await ScramVerifier.create(secret)}\n`);
  return 0;
}

/** Reads the first line of standard input; on a terminal without showing it. */
async function readSecret(output: Output): Promise<string> {
  const terminal = Deno.stdin.isTerminal();
  if (terminal) {
    output.err("secret: ");
    Deno.stdin.setRaw(true, { cbreak: true });
  }
  try {
    const bytes: number[] = [];
    const one = new Uint8Array(1);
    while (await Deno.stdin.read(one) !== null) {
      if (one[0] === 10 || one[0] === 13) break;
      bytes.push(one[0]!);
    }
    return new TextDecoder().decode(new Uint8Array(bytes));
  } finally {
    if (terminal) {
      Deno.stdin.setRaw(false);
      output.err("\n");
    }
  }
}
