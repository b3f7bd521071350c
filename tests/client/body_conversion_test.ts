/**
 * 8-bit content for servers without 8BITMIME: RFC 6152 section 3, encodings of
 * RFC 2045 sections 6.7 and 6.8.
 */

import { assert, assertEquals } from "@std/assert";
import {
  Base64Encoder,
  convertContent,
  QuotedPrintableEncoder,
} from "../../lib/client/body_conversion.ts";
import type { ConversionOptions } from "../../lib/client/conversion_plan.ts";
import { bytesOf, concat, textOf } from "../support/bytes.ts";
import { seededFraction } from "../support/random.ts";

interface Part {
  type: string;
  encoding: string;
  bytes: string;
  defects: string[];
}

interface Seen {
  ascii: boolean;
  longest: number;
  mime: string;
  parts: Part[];
}

/** Parses messages with Python's email package. */
async function readByPython(messages: Uint8Array[]): Promise<Seen[]> {
  const script = new URL("./mime_reader.py", import.meta.url);
  const child = new Deno.Command("python3", {
    args: [script.pathname],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(
    bytesOf(messages.map((message) => `${message.toBase64()}\n`).join("")),
  );
  await writer.close();
  const { stdout } = await child.output();
  return textOf(stdout).trim().split("\n").map((line) => JSON.parse(line));
}

const TO_7_BIT = { to7Bit: true, shortLines: false, touchesSigned: false };

/** Converts a message that arrives in pieces of `size` bytes. */
async function converted(
  message: string,
  options: { size?: number; scan?: ConversionOptions } = {},
): Promise<Uint8Array> {
  const { size = 65536, scan = TO_7_BIT } = options;
  const bytes = bytesOf(message);
  const open = async function* () {
    for (let at = 0; at < bytes.length; at += size) {
      yield await Promise.resolve(bytes.slice(at, at + size));
    }
  };
  const changed = await convertContent(open, scan);
  return concat(await Array.fromAsync(changed()));
}

/** The UTF-8 bytes of `text`, one character each. */
function utf8(text: string): string {
  return textOf(new TextEncoder().encode(text));
}

const HEAD = "From: a@b\r\nMIME-Version: 1.0\r\n";
const TEXT = utf8("Grüße = schön\t \r\n.dot\r\nFrom me\r\n\r\nEnd");
const EIGHT = "Content-Transfer-Encoding: 8bit\r\n";

const ROWS: readonly (readonly [
  name: string,
  message: string,
  parts: readonly (readonly [type: string, encoding: string, bytes: string])[],
])[] = [
  [
    "text",
    `${HEAD}Content-Type: text/plain; charset=utf-8\r\n${EIGHT}\r\n${TEXT}`,
    [["text/plain", "quoted-printable", TEXT]],
  ],
  [
    "no MIME header at all",
    `From: a@b\r\n\r\n${TEXT}`,
    [["text/plain", "quoted-printable", TEXT]],
  ],
  [
    "not text",
    `${HEAD}Content-Type: application/x\r\n${EIGHT}\r\n${TEXT}`,
    [["application/x", "base64", TEXT]],
  ],
  [
    "binary text",
    `${HEAD}Content-Type: text/html\r\nContent-Transfer-Encoding: binary\r\n\r\n\xff\n\r\0x`,
    [["text/html", "base64", "\xff\n\r\0x"]],
  ],
  [
    "long line",
    `${HEAD}${EIGHT}\r\n${"\xe4".repeat(3000)} x \r\n`,
    [["text/plain", "quoted-printable", `${"\xe4".repeat(3000)} x \r\n`]],
  ],
  [
    "parts, some 7-bit",
    `${HEAD}Content-Type: multipart/mixed; boundary="b=1"\r\n${EIGHT}\r\n` +
    `\xffpreamble\r\n--b=1\r\n${EIGHT}\r\n${TEXT}\r\n--b=1\r\n\r\nplain\r\n--b=1 \r\n` +
    `Content-Type: image/x\r\n${EIGHT}\r\n\x80\x81\r\n--b=1--\r\nepilogue\xff\r\n`,
    [
      ["text/plain", "quoted-printable", TEXT],
      ["text/plain", "7bit", "plain"],
      ["image/x", "base64", "\x80\x81"],
    ],
  ],
  [
    "parts within parts",
    `${HEAD}Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n` +
    `Content-Type: multipart/alternative; boundary=i\r\n\r\n--i\r\n${EIGHT}\r\n${TEXT}\r\n` +
    `--i--\r\n--o--\r\n`,
    [["text/plain", "quoted-printable", TEXT]],
  ],
  [
    "a message within",
    `${HEAD}Content-Type: message/rfc822\r\n${EIGHT}\r\nSubject: in\r\n${EIGHT}\r\n${TEXT}`,
    [["text/plain", "quoted-printable", TEXT]],
  ],
  [
    "a part that is encoded already",
    `${HEAD}Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n` +
    `Content-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--o\r\n${EIGHT}\r\n\xe4\r\n--o--\r\n`,
    [
      ["text/plain", "base64", "\0\x01\x02"],
      ["text/plain", "quoted-printable", "\xe4"],
    ],
  ],
];

Deno.test("convertContent() makes what Python's email package reads back", async () => {
  const seen = await readByPython(
    await Promise.all(ROWS.map(([, message]) => converted(message))),
  );
  for (const [at, [name, , want]] of ROWS.entries()) {
    const { ascii, longest, mime, parts } = seen[at]!;
    assert(ascii, name);
    assert(longest <= 78, `${name}: line of ${longest}`);
    assertEquals(mime, "1.0", name);
    assertEquals(
      parts.map((
        { type, encoding, bytes },
      ) => [type, encoding, atob(bytes)]),
      want.map((part) => [...part]),
      name,
    );
    assertEquals(parts.flatMap(({ defects }) => defects), [], name);
  }
});

Deno.test("convertContent() leaves 7-bit content as it is", async () => {
  for (const [name, message] of ROWS) {
    const once = await converted(message);
    assertEquals(textOf(await converted(textOf(once))), textOf(once), name);
  }
});

Deno.test("convertContent() gives the same however the content comes in pieces", async () => {
  const random = seededFraction(7);
  for (const [name, message] of ROWS) {
    const want = textOf(await converted(message));
    for (const size of [1, 2, 3, 7, 1 + Math.floor(random() * 60)]) {
      assertEquals(textOf(await converted(message, { size })), want, name);
    }
  }
});

Deno.test("convertContent() leaves signed and encrypted parts and fragments as they are", async () => {
  const part = `\r\n--b\r\nContent-Type: text/plain; name="\xfc"\r\n` +
    `${EIGHT}\r\n\xe4\r\n--b--\r\n`;
  const rows = [
    `Content-Type: multipart/signed; boundary=b\r\n${part}`,
    `Content-Type: multipart/encrypted; boundary=b\r\n${part}`,
    `Content-Type: multipart/signed; boundary=b\r\n\r\n\xe4\r\n${part}`,
    `Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n` +
    `Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\n\xe4\r\n` +
    `--c--\r\n--b--\r\n`,
    "Content-Type: message/partial\r\n\r\n\xe4",
  ];
  for (const message of rows) {
    assertEquals(textOf(await converted(message)), message);
    const inside = `${HEAD}Content-Type: multipart/mixed; boundary=o\r\n\r\n` +
      `--o\r\n${EIGHT}\r\n\xe4\r\n--o\r\n${message}\r\n--o--\r\n`;
    const text = textOf(await converted(inside));
    assert(text.includes(`=E4\r\n--o\r\n${message}\r\n--o--`), text);
    // The result is not 7-bit, and is labelled so.
    assert(text.startsWith(inside.slice(0, inside.indexOf("\r\n\r\n"))), text);
    assert(text.indexOf("8bit") < text.indexOf("--o"), text);
  }
  const subject = "Subject: \xfc\r\n";
  assertEquals(
    textOf(await converted(subject + rows[0])),
    `Subject: =?iso-8859-1?Q?=FC?=\r\n${rows[0]}`,
  );
});

Deno.test("convertContent() changes signed parts of a message that is only returned to its sender", async () => {
  const message = `${HEAD}Content-Type: multipart/signed; boundary=b\r\n\r\n` +
    `--b\r\n${EIGHT}\r\n\xe4\r\n--b--\r\n`;
  const scan = { ...TO_7_BIT, touchesSigned: true };
  assert(
    textOf(await converted(message, { scan })).includes("\r\n\r\n=E4\r\n--b--"),
  );
});

/** Messages that are invalid or unusual, and texts that the result must contain. */
const ODD: readonly (readonly [name: string, message: string, want: string])[] =
  [
    [
      "an encoding with a comment",
      `${HEAD}Content-Transfer-Encoding: 8bit (x)\r\n\r\n\xe4`,
      "\r\n\r\n=E4",
    ],
    [
      "an encoding with a semicolon",
      `${HEAD}Content-Transfer-Encoding: 8bit;\r\n\r\n\xe4`,
      "\r\n\r\n=E4",
    ],
    [
      "an encoding with a hyphen",
      `${HEAD}Content-Transfer-Encoding: 8-bit\r\n\r\n\xe4`,
      "\r\n\r\n=E4",
    ],
    [
      "an unknown encoding",
      `${HEAD}Content-Transfer-Encoding: x-odd\r\n\r\n\xe4`,
      "x-odd\r\n\r\n\xe4",
    ],
    [
      "quoted-printable with 8-bit bytes",
      `${HEAD}Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=BC\xe4`,
      "\r\n\r\n=C3=BC=E4",
    ],
    [
      "base64 with 8-bit bytes",
      `${HEAD}Content-Transfer-Encoding: base64\r\n\r\nAAEC\xe4`,
      "\r\n\r\nAAEC?",
    ],
    [
      "a multipart without a boundary",
      `${HEAD}Content-Type: multipart/mixed\r\n\r\n\xe4`,
      "Content-Type: text/plain; charset=unknown-8bit\r\n" +
      "Content-Transfer-Encoding: quoted-printable\r\n\r\n=E4",
    ],
    [
      "a multipart whose boundary never comes",
      `${HEAD}Content-Type: multipart/mixed; boundary=none\r\n\r\n\xe4`,
      "Content-Type: text/plain; charset=unknown-8bit\r\n" +
      "Content-Transfer-Encoding: quoted-printable\r\n\r\n=E4",
    ],
    [
      "a boundary behind a file name",
      `${HEAD}Content-Type: multipart/mixed; name="x; boundary=no"; boundary=yes\r\n\r\n` +
      `--yes\r\n\r\n\xe4\r\n--yes--\r\n`,
      "\r\n\r\n=E4\r\n--yes--\r\n",
    ],
    [
      "a boundary in sections",
      `${HEAD}Content-Type: multipart/mixed; boundary*0="a b"; boundary*1=c\r\n\r\n` +
      `--a bc\r\n\r\n\xe4\r\n--a bc--\r\n`,
      "\r\n\r\n=E4\r\n--a bc--\r\n",
    ],
    [
      "a comment before the type",
      `${HEAD}Content-Type: (c) multipart/mixed; boundary=b\r\n\r\n` +
      `--b\r\n\r\n\xe4\r\n--b--\r\n`,
      "\r\n\r\n=E4\r\n--b--\r\n",
    ],
    [
      "an untyped part of a digest",
      `${HEAD}Content-Type: multipart/digest; boundary=b\r\n\r\n` +
      `--b\r\n\r\nSubject: in\r\n\r\n\xe4\r\n--b--\r\n`,
      "7bit\r\n\r\nSubject: in\r\nContent-Type: text/plain; charset=unknown-8bit\r\n" +
      "Content-Transfer-Encoding: quoted-printable\r\n\r\n=E4\r\n--b--\r\n",
    ],
    [
      "a status that is 8-bit",
      `${HEAD}Content-Type: message/delivery-status\r\n\r\nReporting-MTA: \xe4\r\n`,
      "Content-Type: message/delivery-status\r\n\r\nReporting-MTA: \xe4\r\n",
    ],
    [
      "messages that nest too deep",
      `${HEAD}${"Content-Type: message/rfc822\r\n\r\n".repeat(60)}\r\n\xe4`,
      "=E4",
    ],
    [
      "a type that is no type",
      `${HEAD}Content-Type: text\r\n\r\n\xe4`,
      "Content-Type: text\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=E4",
    ],
    [
      "line ends that are LF",
      `From: a@b\nMIME-Version: 1.0\nContent-Type: text/plain\n\n\xe4\nx\n`,
      "From: a@b\nMIME-Version: 1.0\nContent-Type: text/plain\n" +
      "Content-Transfer-Encoding: quoted-printable\r\n\n=E4\r\nx\r\n",
    ],
    [
      "text that begins without a blank line",
      `${HEAD}hello \xe4`,
      `${HEAD}Content-Type: text/plain; charset=unknown-8bit\r\n` +
      "Content-Transfer-Encoding: quoted-printable\r\n\r\nhello =E4",
    ],
    [
      "a part without a header or a blank line",
      `${HEAD}Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\xe4 x\r\n--b--\r\n`,
      "quoted-printable\r\n\r\n=E4 x\r\n--b--\r\n",
    ],
  ];

for (const [name, message, want] of ODD) {
  Deno.test(`convertContent() lets it go: ${name}`, async () => {
    for (const size of [65536, 1]) {
      const text = textOf(await converted(message, { size }));
      assert(text.includes(want), text);
    }
  });
}

Deno.test("convertContent() encodes header fields that have a form for it, and leaves the others", async () => {
  const message = `Subject: ${utf8("Grüße")}\r\nFrom: \xfc <a@b.example>\r\n` +
    `Message-ID: <\xfc@x>\r\nX-Plain: as  it is\r\n\r\nx\r\n`;
  assertEquals(
    textOf(await converted(message)),
    "Subject: =?utf-8?B?R3LDvMOfZQ==?=\r\n" +
      "From: =?iso-8859-1?Q?=FC?= <a@b.example>\r\n" +
      "Message-ID: <\xfc@x>\r\nX-Plain: as  it is\r\n\r\nx\r\n",
  );
});

Deno.test("convertContent() encodes file names of parts", async () => {
  const message =
    `${HEAD}Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n` +
    `Content-Type: text/plain; name="\xfc.txt"\r\n` +
    `Content-Disposition: attachment; filename="${
      utf8("ü b.txt")
    }"\r\n\r\nx\r\n--b--\r\n`;
  const text = textOf(await converted(message));
  assert(text.includes("text/plain; name*=iso-8859-1''%FC.txt\r\n"), text);
  assert(
    text.includes("attachment; filename*=utf-8''%C3%BC%20b.txt\r\n"),
    text,
  );
});

Deno.test("convertContent() encodes long lines where only these are in the way", async () => {
  const scan = { to7Bit: false, shortLines: true, touchesSigned: false };
  const message = `${HEAD}X-Long: ${"word ".repeat(400)}end\r\n` +
    `Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n${
      "x".repeat(3000)
    }\r\n--b\r\nContent-Type: image/x\r\n\r\n${"y".repeat(3000)}\r\n` +
    `--b\r\n\r\n\xe4 short\r\n--b--\r\n`;
  for (const size of [65536, 100, 1]) {
    const text = textOf(await converted(message, { scan, size }));
    for (const line of text.split("\r\n")) assert(line.length <= 998, line);
    assert(text.includes("\r\n\r\n\xe4 short\r\n--b--\r\n"));
    const [, first, second] = text.split("--b\r\n");
    assert(first!.includes("quoted-printable\r\n\r\nxxx"), first);
    assert(second!.includes("base64\r\n\r\n"), second);
    assertEquals(
      text.slice(0, text.indexOf("Content-Type")).replaceAll("\r\n ", " "),
      message.slice(0, message.indexOf("Content-Type")),
    );
  }
});

Deno.test("convertContent() never throws, and makes all content that it can parse 7-bit", async () => {
  const random = seededFraction(11);
  const pieces = [
    "Content-Type: ",
    "multipart/mixed; boundary=b\r\n",
    "text/plain\r\n",
    EIGHT,
    "\r\n",
    "--b\r\n",
    "--b--\r\n",
    "\xe4\xff",
    "\r",
    "\n",
    " ",
    "x".repeat(90),
    "message/rfc822\r\n",
  ];
  for (let round = 0; round < 500; round++) {
    let message = "";
    while (random() < 0.93) {
      message += pieces[Math.floor(random() * pieces.length)];
    }
    const once = await converted(message);
    const again = textOf(await converted(message, { size: 1 }));
    assertEquals(textOf(once), again, message);
    const scan = { to7Bit: false, shortLines: false, touchesSigned: false };
    assertEquals(textOf(await converted(message, { scan })), message);
  }
});

Deno.test("transfer encodings keep lines short, however the content is cut", () => {
  for (const unit of ["\xe4", "x", " ", "=", ".", "\t ", "a\r"]) {
    const text = bytesOf(unit.repeat(500));
    for (const make of [QuotedPrintableEncoder, Base64Encoder]) {
      const whole = new make();
      const encoded = textOf(concat([whole.encode(text), whole.finish()]));
      for (const line of encoded.split("\r\n")) {
        assert(line.length <= 76);
        assert(!/[ \t]$/.test(line));
      }
      const cut = new make();
      const parts = Array.from(text, (byte) => cut.encode(Uint8Array.of(byte)));
      assertEquals(textOf(concat([...parts, cut.finish()])), encoded);
    }
  }
});

Deno.test("Quoted-printable lines end in no blank and begin with nothing that a host on the way may change", () => {
  const rows: [string, string][] = [
    [".\r\n..a\r\n", "=2E\r\n=2E.a\r\n"],
    ["From a\r\nfrom b\r\n", "=46rom a\r\nfrom b\r\n"],
    ["a \r\nb\t\r\nc d\r\n", "a=20\r\nb=09\r\nc d\r\n"],
    ["end ", "end=20"],
  ];
  for (const [text, want] of rows) {
    for (let cut = 0; cut <= text.length; cut++) {
      const encoder = new QuotedPrintableEncoder();
      const parts = [text.slice(0, cut), text.slice(cut)].map((part) =>
        encoder.encode(new TextEncoder().encode(part))
      );
      const got = [...parts, encoder.finish()].map((part) =>
        new TextDecoder().decode(part)
      ).join("");
      assertEquals(got, want);
    }
  }
});
