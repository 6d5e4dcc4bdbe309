// One helper for each thing that matters to an operator: a metric of low cardinality, a span where something took time, and a log
// line where a person should know.
// The rooms `core` and `log` report through interfaces that these helpers fill; they never see OpenTelemetry.

import { type Attributes, type BatchObservableResult, metrics, trace } from '@opentelemetry/api';
import type { Conditions } from './index/flow-index.ts';
import type { ProxyEvents } from './index/proxies.ts';
import type { IngestEvents } from './ingest/app.ts';
import type { LogEvents } from './log/evidence-log.ts';

/** The part of a pino logger that events need. */
export interface EventLogger {
  info(fields: object, text: string): void;
  warn(fields: object, text: string): void;
  error(fields: object, text: string): void;
}

const meter = metrics.getMeter('meshtrail');
const tracer = trace.getTracer('meshtrail');
const recordsAppended = meter.createCounter('meshtrail_records_appended', {
  description: 'Records acknowledged as durable.',
});
const batchesAppended = meter.createCounter('meshtrail_batches_appended', {
  description: 'Batches acknowledged as durable.',
});
const bytesAppended = meter.createCounter('meshtrail_batch_bytes_appended', {
  description: 'Wire bytes of acknowledged batches.',
  unit: 'By',
});
const batchesDuplicate = meter.createCounter('meshtrail_batches_duplicate', {
  description: 'Batches that were stored already and got their first answer again.',
});
const batchesConflicting = meter.createCounter('meshtrail_batches_conflicting', {
  description: 'Other bytes under a batch number that is taken.',
});
const batchesRefused = meter.createCounter('meshtrail_batches_refused', {
  description: 'Batches refused, by error code.',
});
const commitDuration = meter.createHistogram('meshtrail_commit_duration', {
  description: 'From the first batch of a group waiting to the group durable and read back.',
  unit: 'ms',
  advice: { explicitBucketBoundaries: [0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] },
});
const exposure = meter.createHistogram('meshtrail_exposure', {
  description: 'From a batch acknowledged to a published checkpoint that covers it.',
  unit: 'ms',
  advice: { explicitBucketBoundaries: [50, 100, 250, 500, 1000, 1500, 2000, 5000, 10_000] },
});
const checkpointSize = meter.createGauge('meshtrail_checkpoint_size', {
  description: 'Entries covered by the published checkpoint.',
});
const batchesWaiting = meter.createUpDownCounter('meshtrail_batches_waiting', {
  description: 'Admitted batches that wait for their acknowledgement: the depth of the queue.',
});
const bytesWaiting = meter.createUpDownCounter('meshtrail_batch_bytes_waiting', {
  description: 'Wire bytes of the batches that wait.',
  unit: 'By',
});
const apiDuration = meter.createHistogram('meshtrail_api_request_duration', {
  description: 'Answers of the API, by route and status.',
  unit: 'ms',
  advice: { explicitBucketBoundaries: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000] },
});
const indexFailures = meter.createCounter('meshtrail_index_failures', {
  description: 'The index stopped following the log.',
});
const fatalErrors = meter.createCounter('meshtrail_fatal_errors', { description: 'The log stopped signing.' });
const vmSilent = meter.createCounter('meshtrail_vm_silent', {
  description: 'VMs that another VM of their proxy named as dead: what passes there is not recorded.',
});
const proxiesSilent = meter.createObservableGauge('meshtrail_proxies_silent', {
  description: 'Proxies that fell silent within a day and did not say that they end.',
});
const streams = meter.createObservableGauge('meshtrail_streams', { description: 'Streams that are held, by state.' });
// A counter that was never counted would be missing from /metrics, and an alert on it would never fire.
for (const counter of [recordsAppended, batchesAppended, bytesAppended, batchesDuplicate, batchesConflicting])
  counter.add(0);
for (const counter of [batchesWaiting, bytesWaiting, indexFailures, fatalErrors, vmSilent]) counter.add(0);

/** A span of something that has just ended; it costs nothing when no exporter is configured. */
function spanned(name: string, durationMs: number, attributes: Attributes): void {
  const endMs = performance.timeOrigin + performance.now();
  tracer.startSpan(name, { startTime: endMs - durationMs, attributes }).end(endMs);
}

/** The log's events as metrics and log lines; `onFatal` ends the process. */
export function logEvents(logger: EventLogger, onFatal: (error: Error) => void): LogEvents {
  return {
    sequenced({ batches, records, bytes, durationMs }) {
      batchesAppended.add(batches);
      recordsAppended.add(records);
      bytesAppended.add(bytes);
      commitDuration.record(durationMs);
      spanned('commit', durationMs, { batches, records, bytes });
    },
    published({ size, exposureMs }) {
      checkpointSize.record(size);
      exposure.record(exposureMs);
      spanned('publish', exposureMs, { size });
    },
    duplicate() {
      batchesDuplicate.add(1);
    },
    conflict({ stream, batchNumber, index }) {
      batchesConflicting.add(1);
      logger.warn(
        { stream, batchNumber, index },
        'other bytes arrived under a batch number that is taken; the first are kept',
      );
    },
    conflictLost(error) {
      logger.warn({ err: error }, 'a conflict entry could not be written');
    },
    fatal(error) {
      fatalErrors.add(1);
      logger.error({ err: error }, 'the log stopped signing');
      onFatal(error);
    },
  };
}

/** Ingest's events as metrics. */
export const ingestEvents: IngestEvents = {
  refused(code) {
    batchesRefused.add(1, { code });
  },
  waiting(batches, bytes) {
    batchesWaiting.add(batches);
    bytesWaiting.add(bytes);
  },
};

/** The API's events as metrics: a request was answered, on one of the API's own route patterns. */
export const apiEvents = {
  answered({
    route,
    status,
    durationMs,
  }: {
    readonly route: string;
    readonly status: number;
    readonly durationMs: number;
  }): void {
    apiDuration.record(durationMs, { route, status });
    spanned(`GET ${route}`, durationMs, { 'http.route': route, 'http.response.status_code': status });
  },
};

/** What falls silent, as a metric and log lines. */
export function proxyEvents(logger: EventLogger): ProxyEvents {
  return {
    vmSilent({ name, node, silence }, { sinceNs }) {
      vmSilent.add(1);
      logger.error(
        { stream: name, node, proxySince: isoOf(sinceNs), silentSince: isoOf(silence?.wallNs) },
        'a VM of a proxy is dead: what passes there is not recorded until the proxy is restarted',
      );
    },
    proxySilent({ node, sinceNs, lastHeardMs, aliveIntervalMs }) {
      logger.warn(
        { node, proxySince: isoOf(sinceNs), lastHeard: new Date(lastHeardMs).toISOString(), aliveIntervalMs },
        'a proxy gives no sign of life, and did not say that it ends',
      );
    },
    proxyHeard({ node, sinceNs }) {
      logger.info({ node, proxySince: isoOf(sinceNs) }, 'a silent proxy is heard again');
    },
  };
}

function isoOf(ns: bigint | undefined): string | undefined {
  return ns === undefined ? undefined : new Date(Number(ns / 1_000_000n)).toISOString();
}

/** Streams and proxies as metrics, counted when they are asked for. Returns the way to stop. */
export function observeConditions(conditions: () => Conditions): () => void {
  const gauges = [streams, proxiesSilent];
  const observe = (result: BatchObservableResult): void => {
    const now = conditions();
    for (const [state, count] of Object.entries(now.streams)) result.observe(streams, count, { state });
    result.observe(proxiesSilent, now.proxiesSilent);
  };
  meter.addBatchObservableCallback(observe, gauges);
  return () => meter.removeBatchObservableCallback(observe, gauges);
}

/** The index stopped following the log. */
export function indexFailed(logger: EventLogger, error: Error): void {
  indexFailures.add(1);
  logger.error({ err: error }, 'the index does not follow the log; answers say that they are partial');
}
