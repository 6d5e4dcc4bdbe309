// The variants of the proxy that the filter benchmark sets beside one another, and the settings in which it does.

/** Where a Wasm module stands in the proxy; several places are roots of one VM. */
export type Place = 'httpFilter' | 'networkFilter' | 'managerLog' | 'listenerLog';

/** Our release module, one that only counts, or another build that is set beside ours. */
export type Module = 'counting' | 'release' | 'other';

export type Variant = {
  /** What it is and does, in one line. */
  readonly what: string;
} & (
  | { readonly kind: 'none' | 'jsonFile' | 'grpcAls' }
  | {
      readonly kind: 'wasm';
      readonly module: Module;
      readonly places: readonly Place[];
      /** Configuration of every root beyond the collector's address. */
      readonly settings: Readonly<Record<string, string | number>>;
    }
);

const recorder = (what: string, ...places: readonly Place[]): Variant => ({
  what: `our filter (release module, default configuration) as ${what}, delivering to a live sink`,
  kind: 'wasm',
  module: 'release',
  places,
  settings: {},
});
const counting = (what: string, place: Place): Variant => ({
  what: `a module that counts in proxy_on_log and does nothing else, as ${what}`,
  kind: 'wasm',
  module: 'counting',
  places: [place],
  settings: {},
});

const other = (what: string, place: Place): Variant => ({
  what: `another build of the module, default configuration, as ${what}, delivering to a live sink`,
  kind: 'wasm',
  module: 'other',
  places: [place],
  settings: {},
});

export const VARIANTS = {
  none: { what: 'Envoy as a plain proxy, nothing recorded', kind: 'none' },
  jsonFile: { what: "Envoy's JSON file access log, 29 fields; nothing ships the file", kind: 'jsonFile' },
  grpcAls: { what: "Envoy's gRPC access log to a live sink that reads every message", kind: 'grpcAls' },
  countFilter: counting('HTTP filter', 'httpFilter'),
  countLogger: counting('access logger of the connection manager', 'managerLog'),
  httpFilter: recorder('HTTP filter', 'httpFilter'),
  accessLogger: recorder('access logger of the connection manager', 'managerLog'),
  httpAndNetwork: recorder('HTTP and network filter', 'httpFilter', 'networkFilter'),
  bothLoggers: recorder('access logger of the connection manager and of the listener', 'managerLog', 'listenerLog'),
  everything: {
    what: 'our filter in all four places, `detail` full, peer metadata, three allowed headers',
    kind: 'wasm',
    module: 'release',
    places: ['httpFilter', 'networkFilter', 'managerLog', 'listenerLog'],
    settings: {
      detail: 'full',
      peer_metadata: 'istio',
      request_headers: 'accept,accept-encoding,x-envoy-attempt-count',
    },
  },
  otherFilter: other('HTTP filter', 'httpFilter'),
  otherLogger: other('access logger of the connection manager', 'managerLog'),
} as const satisfies Record<string, Variant>;
export type VariantName = keyof typeof VARIANTS;
export const VARIANT_NAMES = Object.keys(VARIANTS) as VariantName[];

export const variantOf = (name: VariantName): Variant => VARIANTS[name];

/** Whether it needs another build of the module. */
export const isOfOther = (name: VariantName): boolean => {
  const variant = variantOf(name);
  return variant.kind === 'wasm' && variant.module === 'other';
};

/** How the proxy is reached and how many workers it has. */
export interface Setting {
  readonly tls: 'none' | 'mtls';
  readonly workers: 1 | 2;
}

export const settingName = ({ tls, workers }: Setting): string =>
  `${tls === 'none' ? 'plaintext' : 'mTLS'}, ${workers} worker${workers === 1 ? '' : 's'}`;
