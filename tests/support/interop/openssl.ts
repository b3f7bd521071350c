/** Runs the openssl program, the peer in the TLS and certificate tests. */

import { run } from "../process.ts";

/** Whether there is an openssl program on this machine. */
export const hasOpenssl: boolean = await (async () => {
  try {
    return (await openssl(["version"])).code === 0;
  } catch {
    return false;
  }
})();

/** The result of a run of openssl. */
export interface OpensslResult {
  /** The exit code. */
  code: number;
  /** Standard output, then standard error. */
  text: string;
}

/** Runs `openssl` to its end, `input` on its standard input. */
export async function openssl(
  args: readonly string[],
  input = "",
): Promise<OpensslResult> {
  const options = { input, anyCode: true };
  const { code, stdout, stderr } = await run("openssl", args, options);
  return { code, text: stdout + stderr };
}
