// OpenTelemetry set-up, loaded by `--import` before everything else; the only importer of the SDK.
// Metrics are read in Prometheus form at /metrics and leave the process in no other way;
// traces are exported only when the standard OTEL_* variables name an endpoint.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { PrometheusExporter } from '@opentelemetry/exporter-prometheus';
import { NodeSDK } from '@opentelemetry/sdk-node';

const STOP_TIMEOUT_MS = 3000;
const TRACE_VARIABLES = ['OTEL_TRACES_EXPORTER', 'OTEL_EXPORTER_OTLP_ENDPOINT', 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'];
// Without this the SDK would look for a receiver on localhost:4318 that nobody asked for.
if (TRACE_VARIABLES.every((name) => process.env[name] === undefined)) process.env['OTEL_TRACES_EXPORTER'] = 'none';
process.env['OTEL_LOGS_EXPORTER'] ??= 'none';
// The exporter's own patience, retries included, would hold up the end of the process.
process.env['OTEL_EXPORTER_OTLP_TIMEOUT'] ??= String(STOP_TIMEOUT_MS);

const exporter = new PrometheusExporter({ preventServerStart: true });
// No resource detectors: the default ones publish the command line and the executable's path in `target_info`.
const sdk = new NodeSDK({ serviceName: 'meshtrail', metricReaders: [exporter], resourceDetectors: [] });
sdk.start();

/** Answers a request with all metrics in Prometheus text form. */
export function serveMetrics(request: IncomingMessage, response: ServerResponse): void {
  exporter.getMetricsRequestHandler(request, response);
}

/** Sends what is buffered and stops the SDK. A receiver that does not answer costs some seconds and no more: spans are no evidence. */
export async function stopTelemetry(): Promise<void> {
  const patience = new Promise<void>((done) => setTimeout(done, STOP_TIMEOUT_MS).unref());
  await Promise.race([sdk.shutdown().catch(() => undefined), patience]);
}
