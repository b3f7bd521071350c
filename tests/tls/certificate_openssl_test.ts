/** Certificates and keys against OpenSSL, in both directions. */

import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { certificate as certificateCommand } from "../../lib/cli/security.ts";
import { SmtpClient } from "../../lib/client/client.ts";
import { startTestServer } from "../../lib/testing/mod.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import { CertificateSet } from "../../lib/tls/set.ts";
import { CertificateError } from "../../lib/tls/material.ts";
import { tlsServerEndPoint } from "../../lib/sasl/channel_binding.ts";
import { hasOpenssl, openssl } from "../support/interop/openssl.ts";
import { TestFolder } from "../support/folder.ts";

const ignore = !hasOpenssl;
const ALGORITHMS = ["ecdsa-p256", "rsa-2048", "ed25519"] as const;

async function run(args: readonly string[], input = ""): Promise<string> {
  const { code, text } = await openssl(args, input);
  assertEquals(code, 0, text);
  return text;
}

Deno.test({
  name: "Certificate.selfSigned() makes certificates that OpenSSL accepts",
  ignore,
  async fn() {
    await using folder = await TestFolder.create();
    for (const algorithm of ALGORITHMS) {
      for (const days of [30, 36_500]) {
        const certificate = await Certificate.selfSigned({
          names: ["mail.example", "*.example.org", "192.0.2.1", "2001:db8::1"],
          algorithm,
          days,
        });
        const pem = certificate.toPem();
        const text = await run(["x509", "-noout", "-text"], pem);
        assert(
          text.includes(
            "DNS:mail.example, DNS:*.example.org, IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:1",
          ),
          text,
        );
        assert(text.includes("CA:FALSE"));
        const file = await folder.write("one.pem", pem);
        for (const purpose of ["sslserver", "sslclient"]) {
          await run([
            "verify",
            "-x509_strict",
            ...["-purpose", purpose],
            ...["-verify_hostname", "mx.example.org"],
            ...["-CAfile", file, file],
          ]);
        }
        const key = await run(
          ["pkey", "-pubout"],
          certificate.keyPem(),
        );
        assertEquals(await run(["x509", "-noout", "-pubkey"], pem), key);
      }
    }
  },
});

Deno.test({
  name: "Certificate.createRequest() makes requests that an authority signs",
  ignore,
  async fn() {
    await using folder = await TestFolder.create();
    const config = await folder.write(
      "ca.cnf",
      "[req]\ndistinguished_name=dn\n[dn]\n[ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\nsubjectKeyIdentifier=hash\n",
    );
    const [caKey, caFile] = [`${folder.path}/ca.key`, `${folder.path}/ca.pem`];
    await run([
      ...["req", "-x509", "-newkey", "ec", "-pkeyopt"],
      ...["ec_paramgen_curve:P-384", "-nodes", "-subj", "/CN=Test CA"],
      ...["-config", config, "-extensions", "ca", "-sha384"],
      ...["-keyout", caKey, "-out", caFile],
    ]);
    for (const algorithm of ALGORITHMS) {
      const request = await Certificate.createRequest({
        names: ["mail.example", "192.0.2.1"],
        algorithm,
      });
      const text = await run(
        ["req", "-verify", "-noout", "-text"],
        request.toPem(),
      );
      assert(text.includes("verify OK"), text);
      assert(text.includes("DNS:mail.example, IP Address:192.0.2.1"), text);
      const signed = `${folder.path}/signed.pem`;
      await run([
        ...["x509", "-req", "-CA", caFile, "-CAkey", caKey, "-out", signed],
        ...[
          "-copy_extensions",
          "copy",
          "-days",
          "10",
          "-sha384",
          "-CAcreateserial",
        ],
      ], request.toPem());
      const chain = await Deno.readTextFile(signed) +
        await Deno.readTextFile(caFile);
      const certificate = Certificate.parse(chain, { key: request.keyPem() });
      assertEquals(certificate.issuer, "CN=Test CA");
      assertEquals(certificate.verify({ host: "mail.example" }), []);
      // The signature uses SHA-384, so the channel binding does, too.
      assertEquals(tlsServerEndPoint(certificate.der)?.length, 48);
    }
  },
});

Deno.test({
  name: "Certificate.parse() reads keys in every form, encrypted or not",
  ignore,
  async fn() {
    await using folder = await TestFolder.create();
    const secret = "corréct horse";
    const pass = ["-passout", `pass:${secret}`];
    const forms: [string, string[], boolean][] = [
      ["EC", ["ec"], false],
      ["EC", ["ec", "-aes128", ...pass], true],
      ["EC", ["pkcs8", "-topk8", ...pass], true],
      ["EC", ["pkcs8", "-topk8", "-scrypt", ...pass], true],
      ["EC", ["pkcs8", "-topk8", "-nocrypt"], false],
      ["RSA", ["rsa", "-traditional"], false],
      ["RSA", ["rsa", "-traditional", "-aes256", ...pass], true],
      ["RSA", ["rsa", "-traditional", "-des3", ...pass], true],
      ["RSA", ["pkcs8", "-topk8", ...pass], true],
      ["ED25519", ["pkcs8", "-topk8", ...pass], true],
    ];
    for (const [kind, args, encrypted] of forms) {
      const file = `${folder.path}/${kind}.pem`;
      const options = kind === "EC"
        ? ["-pkeyopt", "ec_paramgen_curve:P-256"]
        : [];
      await run([
        ...["req", "-x509", "-newkey", kind, ...options, "-nodes"],
        ...["-subj", "/CN=a.example", "-keyout", `${file}.key`, "-out", file],
      ]);
      const pem = await Deno.readTextFile(file);
      const converted = `${folder.path}/converted.key`;
      await run([...args, "-in", `${file}.key`, "-out", converted]);
      const key = await Deno.readTextFile(converted);
      const passphrase = encrypted ? secret : undefined;
      assert(Certificate.parse(pem, { key, passphrase }).hasKey);
      if (!encrypted) continue;
      assertThrows(
        () => Certificate.parse(pem, { key }),
        CertificateError,
        "Private key is encrypted: want a passphrase",
      );
      const error = assertThrows(
        () => Certificate.parse(pem, { key, passphrase: "wrong secret" }),
        CertificateError,
        "the passphrase of the private key is wrong, or the key is damaged",
      ) as Error;
      assert(!error.message.includes("wrong secret"));
    }
  },
});

Deno.test({
  name: "Certificate.names takes no name out of the subject or a comma",
  ignore,
  async fn() {
    await using folder = await TestFolder.create();
    const file = `${folder.path}/odd.pem`;
    const config = await folder.write(
      "odd.cnf",
      "[req]\ndistinguished_name=dn\n[dn]\n[odd]\nsubjectAltName=@alt\n" +
        "[alt]\nDNS.1=x.test, DNS:evil.test\nURI.1=https://u.test\nDNS.2=y.test\n",
    );
    await run([
      ...["req", "-x509", "-newkey", "ec", "-pkeyopt"],
      ...["ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=cn.test"],
      ...["-config", config, "-extensions", "odd"],
      ...["-keyout", `${folder.path}/odd.key`, "-out", file],
    ]);
    const certificate = await Certificate.load({
      certificateFile: file,
      keyOptional: true,
    });
    assertEquals(certificate.names, ["y.test"]);
    for (const host of ["cn.test", "evil.test", "x.test", "u.test"]) {
      assertEquals(certificate.matches(host), false, host);
    }
    assertEquals(certificate.matches("y.test"), true);
  },
});

Deno.test({
  name: "a certificate whose names alone tell is one like any other",
  ignore,
  async fn(t) {
    await using folder = await TestFolder.create();
    const keyFile = `${folder.path}/key`;
    const withNames = `${folder.path}/names`;
    const without = `${folder.path}/bare`;
    const make = ["req", "-x509", "-newkey", "ec", "-nodes", "-subj", "/"];
    const curve = ["-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", keyFile];
    const names = ["-addext", "subjectAltName=DNS:mail.example"];
    for (
      const args of [["-out", withNames, ...names], ["-out", without]]
    ) {
      await run([...make, ...curve, ...args]);
      // The last key belongs to the last certificate.
      if (args.includes(withNames)) await Deno.copyFile(keyFile, `${keyFile}1`);
    }
    const certificate = await Certificate.load({
      certificateFile: withNames,
      keyFile: `${keyFile}1`,
    });
    await t.step("in texts", async () => {
      const summary = JSON.parse(JSON.stringify(certificate));
      assertEquals([summary.subject, summary.issuer], ["", ""]);
      assertEquals(summary.names, ["mail.example"]);
      assertMatch(
        String(certificate),
        /^mail\.example \(ecdsa-p256, valid to /,
      );
      assertEquals(certificate.verify({ host: "mail.example" }), []);
      const bare = await Certificate.load({
        certificateFile: without,
        keyOptional: true,
      });
      assertEquals([bare.subject, bare.names.length], ["", 0]);
      assertMatch(String(bare), /^serial number [0-9A-F]+ \(/);
      assertEquals(JSON.parse(JSON.stringify(bare)).subject, "");
      assertThrows(() => new CertificateSet([bare]), TypeError, "no private");
    });
    await t.step("by certificate show", async () => {
      const lines: string[] = [];
      const output = { out: (text: string) => lines.push(text), err() {} };
      await certificateCommand(["show", without], new Map(), output);
      assertMatch(lines.join(""), /^subject {6}none\nissuer {7}none\nnames /);
    });
    await t.step("of a server, and of a client", async () => {
      const seen: string[] = [];
      const note = (der: Uint8Array | undefined) =>
        void seen.push(String(Certificate.fromDer(der!)).split(" ")[0]!);
      await using server = await startTestServer({
        certificate,
        clientCertificate: { mode: "require", trusted: [certificate] },
        handlers: {
          onMailFrom: ({ tls }) => note(tls?.peerCertificate),
        },
      });
      await using client = await SmtpClient.connect({
        host: "mail.example",
        address: server.address,
        port: server.port,
        security: "verified",
        clientCertificate: certificate,
        trusted: [certificate],
        onCertificate: ({ certificate }) => void seen.push(certificate.subject),
      });
      note(client.tls?.peerCertificate);
      const to = ["ann@mail.example"];
      const { accepted } = await client.send({ from: "", to, data: "Hello" });
      assertEquals(accepted, true);
      assertEquals(seen, ["", "mail.example", "mail.example"]);
    });
  },
});
