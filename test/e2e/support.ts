// What the end-to-end tests share: a real Envoy or a printed reason to go without, a collector process, a mesh with traffic.

import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type CollectorProcess, startCollectorProcess } from '../../collector/src/demo/collector.ts';
import { findEnvoy } from '../../collector/src/demo/envoy.ts';
import { nodeClusterOf } from '../../collector/src/demo/envoy-config.ts';
import { type Flight, type FlightInput, startFlight } from '../../collector/src/demo/flight.ts';
import { INGRESS, SERVICES } from '../../collector/src/demo/policies.ts';
import { waitForEnds } from '../../collector/src/demo/recorded.ts';

const FILTER = fileURLToPath(new URL('../../build/filter.wasm', import.meta.url));
const ENDS_MS_MAX = 15_000;
/** The recorder asks a collector that was away ever more rarely, up to every 32 s. */
const DRAIN_MS_MAX = 60_000;
/** `node.cluster` of every proxy of the mesh. */
export const NODES = [INGRESS, ...SERVICES].map(nodeClusterOf);

export interface RealEnvoy {
  readonly binary: string;
  /** The compiled filter. */
  readonly filter: string;
  /** Options of a test that needs Envoy. */
  readonly options: { readonly skip?: string };
}

/** Finds Envoy and the filter. Without Envoy tests skip themselves, and say so; in CI they fail. */
export function withEnvoy(): RealEnvoy {
  try {
    const binary = findEnvoy();
    if (!existsSync(FILTER)) throw new Error('The filter is not built: run `npm run build`.');
    return { binary, filter: FILTER, options: {} };
  } catch (error) {
    if (process.env['CI']) throw error;
    return { binary: '', filter: FILTER, options: { skip: (error as Error).message } };
  }
}

/** A directory that is removed after the test. */
export function scratch(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'meshtrail e2e '));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** Starts a collector on a directory; it ends with the test at the latest. */
export async function startCollector(
  t: TestContext,
  dir: string,
  addresses = { api: '127.0.0.1:0', ingest: '127.0.0.1:0' },
): Promise<CollectorProcess> {
  const collector = await startCollectorProcess({ dir: join(dir, 'log'), runDir: join(dir, 'run'), addresses });
  t.after(() => collector.kill());
  return collector;
}

/** Starts services and proxies that record to a collector; they end with the test at the latest. */
export async function startMeshFor(
  t: TestContext,
  envoy: RealEnvoy,
  dir: string,
  ingest: string,
  more: Partial<FlightInput> & { readonly settings?: NonNullable<FlightInput['recorder']>['settings'] } = {},
): Promise<Flight> {
  const { settings, ...others } = more;
  const accessLogDir = others.accessLogDir;
  if (accessLogDir !== undefined) mkdirSync(accessLogDir, { recursive: true });
  const flight = await startFlight({
    envoy: envoy.binary,
    dir: join(dir, 'mesh'),
    seed: 1,
    recorder: { wasmFile: envoy.filter, ingest, ...(settings === undefined ? {} : { settings }) },
    ...others,
  });
  t.after(() => flight.close());
  return flight;
}

/** Stops the proxies and waits until all that they sent is published. Returns whether every recorder ended its stream. */
export async function land(flight: Flight, collector: CollectorProcess): Promise<boolean> {
  await flight.drain(DRAIN_MS_MAX);
  await flight.close();
  return await waitForEnds(collector.url, collector.vkey, NODES, ENDS_MS_MAX);
}
