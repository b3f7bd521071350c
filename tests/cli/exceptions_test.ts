/** Exceptions that nothing catches, in a server that the command line runs. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { CliServer } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { hasSignals, testWhere } from "../support/platform.ts";

const HANDLERS = `
export default {
  onHelo(_session, name) {
    if (name === "timer") setTimeout(() => { throw new Error("In a timer"); }, 0);
    if (name === "promise") void Promise.reject(new Error("In a promise"));
    if (name === "platform") setTimeout(JSON.parse, 0);
  },
};
`;

testWhere(hasSignals)(
  "cli serve logs exceptions that nothing catches and goes on",
  async () => {
    await using folder = await TestFolder.create();
    await folder.write("handlers.js", HANDLERS);
    await using server = await CliServer.start([
      ...["--handlers", "./handlers.js", "--quiet"],
    ], { cwd: folder.path });
    await using first = await server.connect();
    for (const name of ["timer", "promise", "platform"]) {
      await using client = await server.connect();
      await client.script(`S: 220\nC: HELO ${name}\nS: 250\nC: NOOP\nS: 250`);
    }
    await first.script("S: 220\nC: HELO x\nS: 250\nC: QUIT\nS: 221");
    const { code, stderr } = await server.end("SIGTERM");
    assertEquals(code, 0);
    for (const text of ["In a timer", "In a promise", "SyntaxError"]) {
      assertStringIncludes(stderr, text);
    }
  },
);
