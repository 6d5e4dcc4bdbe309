// A record as people and programs read it: nested by the names of the filter language (docs/query.md), absent where the proxy could not tell.

export type Verdict = 'allowed' | 'denied' | 'failed' | 'reset' | 'invalid' | 'unrouted' | 'unknown';
export type Reporter = 'source' | 'destination' | 'gateway' | 'waypoint';
export type PolicyResult = 'allowed' | 'denied';

/** One side of an exchange. `namespace` and `service_account` derive from the SPIFFE principal; `workload` is known for the reporter's own side, from its `node.cluster`. */
export interface Peer {
  readonly address?: string;
  readonly principal?: string;
  readonly namespace?: string;
  readonly service_account?: string;
  readonly workload?: string;
}

/** A flow record as JSON (docs/formats.md section 6). */
export interface FlowRecord {
  /** `<leaf index>.<record index>`. */
  readonly id: string;
  /** RFC 3339 with nanoseconds, UTC: the proxy's clock at the start. */
  readonly time: string;
  /** Decimal seconds, `"0.004512s"`. */
  readonly duration?: string;
  readonly verdict: Verdict;
  readonly reporter: Reporter;
  readonly cluster?: string;
  /** Name of the enforced RBAC policy that decided. */
  readonly policy?: string;
  readonly source: Peer;
  readonly destination: Peer;
  readonly request: {
    readonly id?: string;
    readonly method?: string;
    readonly host?: string;
    readonly path?: string;
    readonly protocol?: string;
    readonly useragent?: string;
    readonly headers?: Readonly<Record<string, string>>;
    readonly content_type?: string;
    readonly total_size?: number;
  };
  readonly response: {
    readonly code?: number;
    readonly code_details?: string;
    readonly flags?: number;
    readonly grpc_status?: number;
    readonly content_type?: string;
    readonly total_size?: number;
  };
  readonly connection: {
    readonly id?: number;
    readonly direction?: 'inbound' | 'outbound';
    readonly mtls?: boolean;
    readonly tls_version?: string;
    readonly requested_server_name?: string;
    readonly sha256_peer_certificate_digest?: string;
    readonly subject_peer_certificate?: string;
    readonly transport_failure_reason?: string;
    readonly filter_chain?: string;
  };
  readonly upstream: {
    readonly address?: string;
    readonly cluster?: string;
    readonly principal?: string;
    readonly request_attempt_count?: number;
    readonly transport_failure_reason?: string;
  };
  readonly route?: string;
  readonly rbac: {
    readonly result?: PolicyResult;
    readonly shadow_result?: PolicyResult;
    readonly shadow_policy?: string;
  };
  readonly token: { readonly issuer?: string; readonly subject?: string };
  readonly trace: {
    readonly id?: string;
    readonly span_id?: string;
    readonly sampled?: boolean;
    readonly malformed?: string;
  };
  readonly node: { readonly id?: string; readonly cluster?: string };
  /** Where the record stands in its stream, and what to know about its quality. */
  readonly record: {
    readonly stream: string;
    readonly number: number;
    readonly batch: number;
    /** Names of fields that were cut to their limit. */
    readonly truncated?: readonly string[];
    /** Names of fields whose bytes are not UTF-8. */
    readonly not_utf8?: readonly string[];
  };
}
