// The five places of a proxy in which the recorder can stand, and the VMs of a test that stand in some of them.

import type { NamedFilter, TypedConfig } from '../../../collector/src/demo/envoy-parts.ts';
import { typed } from '../../../collector/src/demo/envoy-parts.ts';

export const PLACES = [
  'http_filter',
  'network_filter',
  'manager_logger',
  'listener_logger',
  'tcp_proxy_logger',
] as const;
export type Place = (typeof PLACES)[number];

/** Names of the places in the matrix. */
export const PLACE_TITLES: Readonly<Record<Place, string>> = {
  http_filter: 'HTTP filter',
  network_filter: 'network filter',
  manager_logger: 'logger of the connection manager',
  listener_logger: 'logger of the listener',
  tcp_proxy_logger: 'logger of `tcp_proxy`',
};

/** One recorder: its VM, where it stands, and what it is told. */
export interface Recorder {
  /** `vm_id`, and the configured `cluster` of its records. */
  readonly id: string;
  readonly places: readonly Place[];
  /** Further settings (docs/filter.md). */
  readonly settings?: Readonly<Record<string, string | number | boolean>>;
}

export interface RecorderInput {
  readonly wasmFile: string;
  /** HOST:PORT of the collector. */
  readonly ingest: string;
  readonly recorders: readonly Recorder[];
}

export const COLLECTOR = 'meshtrail_collector';
export const FLUSH_MS = 100;

/** What a place's logger logs; the filters are not asked. */
const LAYERS: Readonly<Partial<Record<Place, string>>> = {
  listener_logger: 'connection',
  tcp_proxy_logger: 'connection',
};
const TYPES: Readonly<Record<Place, string>> = {
  http_filter: 'envoy.extensions.filters.http.wasm.v3.Wasm',
  network_filter: 'envoy.extensions.filters.network.wasm.v3.Wasm',
  manager_logger: 'envoy.extensions.access_loggers.wasm.v3.WasmAccessLog',
  listener_logger: 'envoy.extensions.access_loggers.wasm.v3.WasmAccessLog',
  tcp_proxy_logger: 'envoy.extensions.access_loggers.wasm.v3.WasmAccessLog',
};

function plugin(input: RecorderInput, recorder: Recorder, place: Place): NamedFilter {
  const layer = LAYERS[place];
  const settings = {
    collector_cluster: COLLECTOR,
    collector_authority: input.ingest,
    flush_interval_ms: FLUSH_MS,
    cluster: recorder.id,
    ...(layer === undefined ? {} : { layer }),
    ...recorder.settings,
  };
  const name = `${recorder.id}-${place}`;
  const config = {
    name,
    // One root for each place: by the root a logger knows what it logs.
    root_id: name,
    fail_open: true,
    configuration: typed('google.protobuf.StringValue', { value: JSON.stringify(settings) }),
    vm_config: {
      vm_id: recorder.id,
      runtime: 'envoy.wasm.runtime.v8',
      code: { local: { filename: input.wasmFile } },
    },
  };
  const typed_config: TypedConfig = typed(TYPES[place], { config });
  return { name, typed_config };
}

/** The recorders that stand in a place, as filters or as access loggers. */
export function recordersIn(input: RecorderInput, place: Place): readonly NamedFilter[] {
  return input.recorders.filter(({ places }) => places.includes(place)).map((one) => plugin(input, one, place));
}
