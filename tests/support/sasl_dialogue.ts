/**
 * Helpers of the SASL tests: texts as bytes, a client machine driven against a
 * server exchange, a seeded generator, Python as the second opinion.
 */

import type { ClientMechanism } from "../../lib/sasl/client_mechanism.ts";
import type { Credentials } from "../../lib/sasl/credentials.ts";
import type {
  ExchangeChallenge,
  ExchangeResult,
  ServerExchange,
} from "../../lib/sasl/server_exchange.ts";
import type { ServerStep } from "../../lib/sasl/server_mechanism.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** The UTF-8 bytes of a text. */
export function octets(text: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(text);
}

/** The text of UTF-8 bytes. */
export function text(bytes: Uint8Array | undefined): string {
  return decoder.decode(bytes);
}

/** Drives a client against a server to the server's end. */
export async function converse(
  client: ClientMechanism,
  server: ServerExchange,
): Promise<ExchangeResult> {
  let step: ExchangeChallenge | ExchangeResult = await server.start(
    client.start(),
  );
  for (let turn = 0; !step.done; turn++) {
    if (turn > 9) throw new Error("The exchange does not end");
    step = await server.respond(await client.step(step.challenge));
  }
  if (step.ok) client.finish();
  return step;
}

/** Pseudo-random numbers from 0 up to 1, the same for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** Runs a Python program with `input` as JSON on its standard input; gives what it prints as JSON. */
export async function python(
  program: string,
  input: unknown,
): Promise<unknown> {
  const child = new Deno.Command("python3", {
    args: ["-c", `import json, sys\nrows = json.load(sys.stdin)\n${program}`],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(octets(JSON.stringify(input)));
  await writer.close();
  const { stdout } = await child.output();
  return JSON.parse(text(stdout));
}

/** The credentials that a mechanism wants judged; throws where it wants something else. */
export function credentialsOf(step: ServerStep): Credentials {
  if (step.type === "verify") return step.credentials;
  throw new Error(`Want credentials, got a step of type "${step.type}"`);
}

/** The challenge of a step, as text; throws where there is none. */
export function challengeOf(
  step: ServerStep | ExchangeChallenge | ExchangeResult,
): string {
  if ("done" in step && !step.done) return text(step.challenge);
  if ("type" in step && step.type === "challenge") return text(step.bytes);
  throw new Error("Want a challenge, got something else");
}

/** The result of an exchange; throws where it is not over. */
export function resultOf(
  step: ExchangeChallenge | ExchangeResult,
): ExchangeResult {
  if (step.done) return step;
  throw new Error("Want the end of the exchange, got a challenge");
}
