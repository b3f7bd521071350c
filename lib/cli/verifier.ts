/**
 * `cli.ts verifier NAME`: makes a line for the accounts file out of a secret,
 * which is read from standard input and shown nowhere.
 */

import { ScramVerifier } from "../sasl/scram_verifier.ts";
import type { Output } from "./serve.ts";
import { oneLine, reasonOf, RunError, UsageError } from "./usage.ts";

/** The most bytes of a secret. */
const MOST_BYTES = 1024;

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Runs the command; resolves with the exit code. */
export async function verifier(
  args: readonly string[],
  output: Output,
): Promise<number> {
  const [name, more] = args;
  if (name === undefined || more !== undefined || /^$|[:\s]/.test(name)) {
    throw new UsageError(
      "Command verifier: want one NAME, without colon or blank",
    );
  }
  const secret = await readSecret(output);
  if (secret === "") {
    throw new UsageError("Command verifier: want a secret on standard input");
  }
  let made: ScramVerifier;
  try {
    made = await ScramVerifier.create(secret);
  } catch (error) {
    throw new RunError(oneLine((error as Error).message));
  }
  output.out(`${name}:${made}\n`);
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
      if (bytes.length > MOST_BYTES) {
        throw new RunError(
          `Cannot use the secret: want at most ${MOST_BYTES} bytes`,
        );
      }
    }
    return decoder.decode(new Uint8Array(bytes));
  } catch (error) {
    if (error instanceof RunError) throw error;
    throw new RunError(`Cannot read the secret: ${reasonOf(error)}`);
  } finally {
    if (terminal) {
      Deno.stdin.setRaw(false);
      output.err("\n");
    }
  }
}
