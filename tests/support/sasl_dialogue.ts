/**
 * Helpers of the SASL tests: texts as bytes, a client machine driven against a
 * server exchange, and Python as the second implementation.
 */

import type { ClientMechanism } from "../../lib/sasl/client_mechanism.ts";
import type { Credentials } from "../../lib/sasl/credentials.ts";
import type {
  ExchangeChallenge,
  ExchangeResult,
  ServerExchange,
} from "../../lib/sasl/server_exchange.ts";
import type { ServerStep } from "../../lib/sasl/server_mechanism.ts";
import { utf8, utf8Text } from "./bytes.ts";

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
  await writer.write(utf8(JSON.stringify(input)));
  await writer.close();
  const { stdout } = await child.output();
  return JSON.parse(utf8Text(stdout));
}

/** The credentials that a step wants verified; throws for any other step. */
export function credentialsOf(step: ServerStep): Credentials {
  if (step.type === "verify") return step.credentials;
  throw new Error(`Want credentials, got a step of type "${step.type}"`);
}

/** The challenge of a step, as text; throws where the step has no challenge. */
export function challengeOf(
  step: ServerStep | ExchangeChallenge | ExchangeResult,
): string {
  if ("done" in step && !step.done) return utf8Text(step.challenge);
  if ("type" in step && step.type === "challenge") return utf8Text(step.bytes);
  throw new Error("Want a challenge, got something else");
}

/** The result of an exchange; throws where it is not over. */
export function resultOf(
  step: ExchangeChallenge | ExchangeResult,
): ExchangeResult {
  if (step.done) return step;
  throw new Error("Want the end of the exchange, got a challenge");
}
