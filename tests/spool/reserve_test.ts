/**
 * The reserve on the disk of the spool: it is removed so that progress can be
 * written on a full disk.
 */

import { assertEquals, assertRejects } from "@std/assert";
import { SpoolReserve } from "../../lib/spool/journal.ts";
import { SimulatedDisk } from "../support/queue/disk.ts";

Deno.test("SpoolReserve holds room until it is released, and takes it again", async () => {
  const disk = new SimulatedDisk();
  const reserve = new SpoolReserve(disk, "/spool/reserve");
  await Promise.all([reserve.take(), reserve.take()]);
  assertEquals(disk.bytes("/spool/reserve").length, 131_072);
  assertEquals(reserve.take(), undefined);
  await reserve.release();
  assertEquals(disk.paths, []);
  disk.isFull = true;
  await assertRejects(async () => await reserve.take(), Error, "No space");
  assertEquals(disk.paths, []);
  disk.isFull = false;
  await reserve.take();
  assertEquals(disk.paths, ["/spool/reserve"]);
});

Deno.test("SpoolReserve takes over what another process held, if it is whole", async () => {
  const disk = new SimulatedDisk();
  disk.put("/spool/reserve", "half");
  await new SpoolReserve(disk, "/spool/reserve").take();
  const { steps } = disk;
  await new SpoolReserve(disk, "/spool/reserve").take();
  assertEquals(disk.bytes("/spool/reserve").length, 131_072);
  assertEquals(disk.steps, steps);
});
