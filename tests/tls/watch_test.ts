/**
 * `CertificateSource.watch()`: which changes of files replace the certificate in
 * use, which do not, where faults are reported, and how watching ends.
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { SmtpClient } from "../../lib/client/mod.ts";
import type { LogRecord } from "../../lib/log.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import type { WatchCertificateOptions } from "../../lib/tls/certificate_files.ts";
import { CertificateError } from "../../lib/tls/material.ts";
import { CertificateSource } from "../../lib/tls/set.ts";
import { TestFolder } from "../support/folder.ts";
import { packageFlags } from "../support/interop/server.ts";
import { isWindows, testWhere } from "../support/platform.ts";
import { run } from "../support/process.ts";
import { startServer } from "../support/server.ts";
import { until } from "../support/wait.ts";

const names = ["mx.test"];
const [first, second, third] = await Promise.all([
  Certificate.selfSigned({ names }),
  Certificate.selfSigned({ names }),
  Certificate.selfSigned({ names }),
]);

/** Files of the first certificate that are watched. */
class Watched implements AsyncDisposable {
  readonly folder: TestFolder;
  readonly source: CertificateSource;
  readonly faults: readonly string[];

  private constructor(
    parts: Pick<Watched, "folder" | "source" | "faults">,
  ) {
    this.folder = parts.folder;
    this.source = parts.source;
    this.faults = parts.faults;
  }

  static async start(
    options: Partial<WatchCertificateOptions> = {},
    pem = first.toPem(),
  ): Promise<Watched> {
    const folder = await TestFolder.create();
    const faults: string[] = [];
    const certificateFile = await folder.write("cert.pem", pem);
    const keyFile = await folder.write("key.pem", first.keyPem());
    const source = await CertificateSource.watch({
      ...{ certificateFile, keyFile },
      onError: ({ message }) => void faults.push(message),
      ...options,
    });
    return new Watched({ folder, source, faults });
  }

  get fingerprint(): string {
    return this.source.current.certificates[0]!.fingerprint;
  }

  async isNow(certificate: Certificate): Promise<void> {
    await until(() => this.fingerprint === certificate.fingerprint);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.source.close();
    await this.folder[Symbol.asyncDispose]();
  }
}

Deno.test("watch() takes new files when both fit, and reports once while they do not", async () => {
  await using test = await Watched.start();
  await test.folder.write("cert.pem", second.toPem());
  await until(() => test.faults.length > 0);
  assert(test.faults[0]!.includes("belongs to another"), test.faults[0]);
  assertEquals(test.fingerprint, first.fingerprint);
  await test.folder.write("key.pem", second.keyPem());
  await test.isNow(second);
  assertEquals(test.faults.length, 1);
  // The next renewal is found as well.
  await test.folder.write("key.pem", third.keyPem());
  await test.folder.write("cert.pem", third.toPem());
  await test.isNow(third);
});

testWhere(!isWindows)(
  "watch() follows links that are renamed, as certbot does it",
  async () => {
    const folder = await TestFolder.create();
    await using _folder = folder;
    const { path } = folder;
    await Deno.mkdir(`${path}/live`);
    const link = async (number: number, certificate: Certificate) => {
      for (
        const [name, text] of [
          ["fullchain", certificate.toPem()],
          ["privkey", certificate.keyPem()],
        ] as const
      ) {
        await folder.write(`${name}${number}.pem`, text);
        await Deno.symlink(`../${name}${number}.pem`, `${path}/live/new`);
        await Deno.rename(`${path}/live/new`, `${path}/live/${name}.pem`);
      }
    };
    await link(1, first);
    using source = await CertificateSource.watch({
      certificateFile: `${path}/live/fullchain.pem`,
      keyFile: `${path}/live/privkey.pem`,
    });
    await link(2, second);
    await until(() =>
      source.current.certificates[0]!.fingerprint === second.fingerprint
    );
  },
);

Deno.test("watch() keeps the certificate while a file is missing, broken or no file, and takes the next one", async () => {
  await using test = await Watched.start();
  const { path } = test.folder;
  await Deno.remove(`${path}/key.pem`);
  await until(() => test.faults.length === 1);
  await test.folder.write("cert.pem", "broken");
  await until(() => test.faults.length === 2);
  await Deno.remove(`${path}/cert.pem`);
  await Deno.mkdir(`${path}/cert.pem`);
  await until(() => test.faults.length === 3);
  assert(test.faults[2]!.includes("it is no file"), test.faults[2]);
  assertEquals(test.fingerprint, first.fingerprint);
  await Deno.remove(`${path}/cert.pem`);
  await test.folder.write("cert.pem", second.toPem());
  await test.folder.write("key.pem", second.keyPem());
  await test.isNow(second);
});

Deno.test("watch() takes a certificate that clients refuse only in the place of another such one", async () => {
  const faulty = (one: Certificate) => one.toPem() + third.toPem();
  {
    await using test = await Watched.start();
    await test.folder.write("key.pem", second.keyPem());
    await test.folder.write("cert.pem", faulty(second));
    await until(() => test.faults.length === 1);
    assert(test.faults[0]!.includes("Cannot use the certificate"));
    assertEquals(test.fingerprint, first.fingerprint);
  }
  await using test = await Watched.start({}, faulty(first));
  await test.folder.write("key.pem", second.keyPem());
  await test.folder.write("cert.pem", faulty(second));
  await test.isNow(second);
});

Deno.test("A fault does not end watching when onError fails, at once or later", async () => {
  let calls = 0;
  await using test = await Watched.start({
    onError() {
      calls++;
      if (calls === 1) throw new Error("Cannot report");
      // A program may pass an async function where the type wants no promise.
      return Promise.reject(new Error("Cannot report")) as unknown as void;
    },
  });
  await test.folder.write("cert.pem", "broken");
  await until(() => calls === 1);
  await test.folder.write("cert.pem", "still broken");
  await until(() => calls === 2);
  await test.folder.write("key.pem", second.keyPem());
  await test.folder.write("cert.pem", second.toPem());
  await test.isNow(second);
});

Deno.test("watch() refuses what cannot be loaded, and unknown options", async () => {
  await assertRejects(
    () => CertificateSource.watch({ certificateFile: "/nowhere/cert.pem" }),
    CertificateError,
    "/nowhere/cert.pem",
  );
  for (
    const wrong of [
      {},
      { certificateFile: "a", onError: "no" },
      { certificateFile: "a", keyOptional: true },
    ]
  ) {
    await assertRejects(
      () => CertificateSource.watch(wrong as WatchCertificateOptions),
      TypeError,
      "CertificateSource.watch",
    );
  }
});

for (const threads of [0, 1]) {
  Deno.test(`A server serves the renewed certificate and logs what becomes of it, with ${threads} threads`, async () => {
    const records: LogRecord[] = [];
    await using test = await Watched.start();
    await using server = await startServer({
      threads,
      certificate: test.source,
      log: (record) => void records.push(record),
    });
    const shown: string[] = [];
    const connect = async () => {
      await using _client = await SmtpClient.connect({
        ...{ host: "127.0.0.1", port: server.addresses[0]!.port },
        security: "required",
        onCertificate({ certificate }) {
          shown.push(certificate.fingerprint);
          return true;
        },
      });
      return shown.at(-1)!;
    };
    assertEquals(await connect(), first.fingerprint);
    await test.folder.write("cert.pem", second.toPem());
    await until(() =>
      records.some(({ event, level, error }) =>
        event === "warning" && level === "warn" &&
        error!.includes("belongs to another")
      )
    );
    assertEquals(await connect(), first.fingerprint);
    await test.folder.write("key.pem", second.keyPem());
    await until(async () => await connect() === second.fingerprint);
    const reloads = records.filter(({ event }) => event === "reload");
    assertEquals(reloads.map(({ fields }) => fields), [
      { options: ["certificate"] },
    ]);
    await server.stop();
    const count = records.length;
    test.source.replace(third);
    assertEquals(records.length, count);
  });
}

Deno.test("A watched source does not keep the process running", async () => {
  await using test = await Watched.start();
  const { path } = test.folder;
  const program = await test.folder.write(
    "program.ts",
    `import { CertificateSource } from "@smtp/server/tls";
await CertificateSource.watch({
  certificateFile: ${JSON.stringify(`${path}/cert.pem`)},
  keyFile: ${JSON.stringify(`${path}/key.pem`)},
});
console.log("loaded");
`,
  );
  const { stdout } = await run(Deno.execPath(), [
    ...["run", "-A", ...packageFlags, program],
  ]);
  assertEquals(stdout.trim(), "loaded");
});
