/**
 * Bounds what a stolen password can send: at most 500 messages a day from each
 * user. The user of the next one is cut off and cannot log in until the program
 * starts again, and an operator gets a note by HTTP.
 *
 * ```sh
 * deno run -A examples/limits_per_user.ts 2525 500 https://alerts.example/mail
 * ```
 */

import { AccountList, Certificate, SmtpServer } from "@smtp/server";

const [port = "2525", most = "500", alertUrl] = Deno.args;
const users: Record<string, string> = { ann: "secret", bob: "other secret" };
const server = new SmtpServer({
  listen: `127.0.0.1:${port}/submission`,
  // For a name of your own: Certificate.load({ certificateFile, keyFile }).
  certificate: await Certificate.selfSigned({ names: ["localhost"] }),
  accounts: new AccountList(users),
  limits: { perUser: { messagesPerDay: Number(most) } },
  relay: { allow: "authenticated", spool: "./spool" },
  handlers: {
    async onLimit({ username = "" }, limit) {
      if (limit !== "perUser.messagesPerDay") return;
      users[username.toLowerCase()] = "!"; // No password fits this.
      await server.reload({ accounts: new AccountList(users) });
      for (const one of server.sessions) {
        if (one.username === username) one.close();
      }
      if (alertUrl) await fetch(alertUrl, { method: "POST", body: username });
    },
  },
});
await server.start();
console.log(`listening on port ${server.addresses[0]!.port}`);
