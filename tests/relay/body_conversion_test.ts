import { assert, assertEquals } from "@std/assert";
import { convertTo7Bit } from "../../lib/relay/body_conversion.ts";
import { findBoundary, splitMultipart } from "../../lib/relay/multipart.ts";
import {
  toBase64Lines,
  toQuotedPrintable,
} from "../../lib/relay/transfer_encoding.ts";
import { octets, textOf } from "../support/client_drive.ts";
import { join, seeded } from "../support/client_split.ts";

interface Part {
  type: string;
  encoding: string;
  octets: string;
  defects: string[];
}

interface Seen {
  ascii: boolean;
  longest: number;
  mime: string;
  parts: Part[];
}

/** What Python's email package makes of messages. */
async function readByPython(messages: Uint8Array[]): Promise<Seen[]> {
  const script = new URL("../support/client_mime_reader.py", import.meta.url);
  const child = new Deno.Command("python3", {
    args: [script.pathname],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(
    octets(messages.map((message) => `${message.toBase64()}\n`).join("")),
  );
  await writer.close();
  const { stdout } = await child.output();
  return textOf(stdout).trim().split("\n").map((line) => JSON.parse(line));
}

function converted(message: string): Uint8Array {
  const result = convertTo7Bit(octets(message));
  if ("reply" in result) throw new Error(String(result.reply));
  return result.content;
}

/** The octets of `text` as UTF-8, one character each. */
function utf8(text: string): string {
  return textOf(new TextEncoder().encode(text));
}

const HEAD = "From: a@b\r\nMIME-Version: 1.0\r\n";
const TEXT = utf8("Grüße = schön\t \r\n.dot\r\nFrom me\r\n\r\nEnd");
const EIGHT = "Content-Transfer-Encoding: 8bit\r\n";

const ROWS: readonly (readonly [
  name: string,
  message: string,
  parts: readonly (readonly [type: string, encoding: string, octets: string])[],
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

Deno.test("convertTo7Bit() makes what Python's email package reads back", async () => {
  const seen = await readByPython(
    ROWS.map(([, message]) => converted(message)),
  );
  for (const [at, [name, , want]] of ROWS.entries()) {
    const { ascii, longest, mime, parts } = seen[at]!;
    assert(ascii, name);
    assert(longest <= 78, `${name}: line of ${longest}`);
    assertEquals(mime, "1.0", name);
    assertEquals(
      parts.map(({ type, encoding, octets }) => [type, encoding, atob(octets)]),
      want.map((part) => [...part]),
      name,
    );
    assertEquals(parts.flatMap(({ defects }) => defects), [], name);
  }
});

Deno.test("convertTo7Bit() leaves 7-bit content as it is", () => {
  for (const [name, message] of ROWS) {
    const once = converted(message);
    assertEquals(textOf(converted(textOf(once))), textOf(once), name);
  }
});

Deno.test("convertTo7Bit() refuses what it must not touch", () => {
  const part = `\r\n--b\r\n${EIGHT}\r\n\xe4\r\n--b--\r\n`;
  const rows: [string, string][] = [
    [`Content-Type: multipart/signed; boundary=b\r\n${part}`, "signed"],
    [`Content-Type: multipart/encrypted; boundary=b\r\n${part}`, "encrypted"],
    ["Content-Type: message/partial\r\n\r\n\xe4", "fragment"],
    ["Content-Transfer-Encoding: base64\r\n\r\n\xe4", "encoding"],
    ["Content-Transfer-Encoding: x-odd\r\n\r\n\xe4", "encoding"],
    ["Subject: \xe4\r\n\r\nx", "header"],
    ["Content-Type: multipart/mixed\r\n\r\n\xe4", "parts"],
    ["Content-Type: multipart/mixed; boundary=none\r\n\r\n\xe4", "parts"],
    ["Content-Type: message/rfc822\r\n\r\n".repeat(40) + "\r\n\xe4", "nest"],
  ];
  for (const [message, why] of rows) {
    const result = convertTo7Bit(octets(message));
    const reply = "reply" in result ? String(result.reply) : "converted";
    assert(reply.startsWith("554 5.6.3 "), reply);
    assert(reply.includes(why), reply);
  }
});

Deno.test("convertTo7Bit() never throws and never leaves an octet above 127", () => {
  const random = seeded(11);
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
  for (let round = 0; round < 3000; round++) {
    let message = "";
    while (random() < 0.93) {
      message += pieces[Math.floor(random() * pieces.length)];
    }
    const result = convertTo7Bit(octets(message));
    if ("content" in result) {
      assert(result.content.every((octet) => octet < 128), message);
    }
  }
});

Deno.test("splitMultipart() gives pieces that make the body again", () => {
  const rows = [
    "--b\r\nx\r\n--b--\r\n",
    "pre\r\n--b\r\n\r\n--b \t\r\ny\n--b--post",
    "--b\n--b\n--b--",
    "--bb\r\n--b\r\nnever closed",
  ];
  for (const body of rows) {
    const pieces = splitMultipart(octets(body), "b");
    assertEquals(textOf(join(pieces!.map(({ bytes }) => bytes))), body);
  }
  assertEquals(splitMultipart(octets("--bb\r\n"), "b"), undefined);
});

Deno.test("findBoundary() reads the parameter", () => {
  const rows: [string, string | undefined][] = [
    ["multipart/mixed; boundary=abc", "abc"],
    ['multipart/mixed; charset=x; BOUNDARY = "a;b\\"c"; x=y', 'a;b"c'],
    ["multipart/mixed", undefined],
    ['multipart/mixed; boundary=""', undefined],
    [`multipart/mixed; boundary=${"x".repeat(101)}`, undefined],
  ];
  for (const [type, want] of rows) assertEquals(findBoundary(type), want);
});

Deno.test("toQuotedPrintable() and toBase64Lines() keep lines short", () => {
  for (const unit of ["\xe4", "x", " ", "=", ".", "\t ", "a\r"]) {
    const text = octets(unit.repeat(500));
    for (const encoded of [toQuotedPrintable(text), toBase64Lines(text)]) {
      for (const line of textOf(encoded).split("\r\n")) {
        assert(line.length <= 76);
        assert(!/[ \t]$/.test(line));
      }
    }
  }
});
