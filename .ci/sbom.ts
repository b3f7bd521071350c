// Prints the parts of an executable as CycloneDX 1.6 in JSON: the packages that
// cli.ts imports with the versions in use, and the runtime. Takes the same flag
// as the other tasks. https://cyclonedx.org/docs/1.6/json/

import manifest from "../deno.json" with { type: "json" };

const ROOT = new URL("../", import.meta.url);

/** One part. */
interface Component {
  readonly type: "application" | "library" | "platform";
  readonly "bom-ref": string;
  readonly name: string;
  readonly version: string;
  readonly licenses?: readonly { readonly license: { readonly id: string } }[];
  readonly purl?: string;
  readonly externalReferences?: readonly {
    readonly type: "distribution";
    readonly url: string;
  }[];
}

/** The output of `deno info --json` that is read here. */
interface Graph {
  readonly modules: readonly { readonly specifier: string }[];
  readonly npmPackages?: Readonly<
    Record<string, { readonly name: string; readonly version: string }>
  >;
}

const MIT = [{ license: { id: "MIT" } }] as const;

async function readGraph(flags: readonly string[]): Promise<Graph> {
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", ...flags, "cli.ts"],
    cwd: ROOT,
    stderr: "inherit",
  }).output();
  if (!success) throw new Error("Cannot read the modules of cli.ts");
  return JSON.parse(new TextDecoder().decode(stdout));
}

/** The packages of a graph: those of JSR by the addresses of their modules. */
function packagesOf({ modules, npmPackages = {} }: Graph): Component[] {
  const found = new Map<string, Component>();
  for (const { specifier } of modules) {
    const [, name, version] =
      /^https:\/\/jsr\.io\/(@[^/]+\/[^/]+)\/([^/]+)\//.exec(specifier) ?? [];
    if (name === undefined || version === undefined) continue;
    const ref = `jsr:${name}@${version}`;
    found.set(ref, {
      ...{ type: "library", "bom-ref": ref, name, version, licenses: MIT },
      externalReferences: [
        { type: "distribution", url: `https://jsr.io/${name}@${version}` },
      ],
    });
  }
  for (const { name, version } of Object.values(npmPackages)) {
    const ref = `npm:${name}@${version}`;
    const purl = `pkg:npm/${name.replace("@", "%40")}@${version}`;
    found.set(ref, { type: "library", "bom-ref": ref, name, version, purl });
  }
  return [...found.values()];
}

/** The runtime that is part of each executable. */
function runtime(): Component[] {
  const { deno, v8 } = Deno.version;
  return [
    {
      ...{ type: "platform", "bom-ref": `deno@${deno}`, name: "deno" },
      ...{ version: deno, licenses: MIT, purl: `pkg:cargo/deno@${deno}` },
    },
    { type: "library", "bom-ref": `v8@${v8}`, name: "v8", version: v8 },
  ];
}

const { name, version, license } = manifest;
const ref = `jsr:${name}@${version}`;
const components = [
  ...packagesOf(await readGraph(Deno.args)),
  ...runtime(),
];
console.log(JSON.stringify(
  {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    serialNumber: `urn:uuid:${crypto.randomUUID()}`,
    version: 1,
    metadata: {
      timestamp: new Date().toISOString(),
      component: {
        ...{ type: "application", "bom-ref": ref, name, version },
        licenses: [{ license: { id: license } }],
      },
    },
    components,
    dependencies: [
      { ref, dependsOn: components.map((one) => one["bom-ref"]) },
      ...components.map((one) => ({ ref: one["bom-ref"] })),
    ],
  },
  null,
  2,
));
