// A record as people and programs read it: nested by the names of the filter language (docs/query.md), absent where the proxy could not tell.

export type Verdict = 'allowed' | 'denied' | 'failed' | 'reset' | 'invalid' | 'unrouted' | 'unknown';
export type Reporter = 'source' | 'destination' | 'gateway' | 'waypoint';
export type PolicyResult = 'allowed' | 'denied';

export type Kind = 'http' | 'connection';
export type Phase = 'end' | 'open' | 'interval';
export type Sensor = 'http_filter' | 'network_filter' | 'http_logger' | 'connection_logger';
export type PrincipalFrom = 'mtls' | 'filter_state';
export type TraceFormat = 'w3c' | 'b3';

/**
 * One side of an exchange. `namespace` and `service_account` derive from the SPIFFE principal. `workload` of the reporter's own side
 * is that of its `node.cluster`; of the other side it is, like `cluster` and a `namespace` without a principal, what that side claims.
 */
export interface Peer {
  readonly address?: string;
  readonly principal?: string;
  readonly principal_from?: PrincipalFrom;
  /** What `x-forwarded-client-cert` says. */
  readonly claimed_principal?: string;
  readonly namespace?: string;
  readonly service_account?: string;
  readonly workload?: string;
  readonly cluster?: string;
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
    readonly content_encoding?: string;
    readonly total_size?: number;
  };
  readonly response: {
    readonly code?: number;
    readonly code_details?: string;
    readonly flags?: number;
    readonly grpc_status?: number;
    readonly content_type?: string;
    readonly content_encoding?: string;
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
    /** TLS failed: no certificate of the peer was accepted. */
    readonly certificate_rejected?: true;
    /** Whom such a certificate names: who tried, not who it was. */
    readonly rejected_principal?: string;
    readonly filter_chain?: string;
    /** Why the proxy ended a connection, of records of connections. */
    readonly termination_details?: string;
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
    readonly format?: TraceFormat;
    readonly malformed?: string;
  };
  readonly node: { readonly id?: string; readonly cluster?: string };
  /** Where the record stands in its stream, and what to know about its quality. */
  readonly record: {
    readonly stream: string;
    readonly number: number;
    readonly batch: number;
    readonly kind: Kind;
    readonly phase: Phase;
    /** Who told of it. */
    readonly sensor: Sensor;
    /** It is counted by another record. */
    readonly repeat?: true;
    /** Names of fields that were cut to their limit. */
    readonly truncated?: readonly string[];
    /** Names of fields whose bytes are not UTF-8. */
    readonly not_utf8?: readonly string[];
  };
}
