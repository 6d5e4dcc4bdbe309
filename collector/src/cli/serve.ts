// `meshtrail serve`: the collector, until a signal.

import { readFileSync } from 'node:fs';
import { type Logger, pino } from 'pino';
import { type Collector, originOf, removeFile, startCollector, writeWhole } from '../compose.ts';
import { type Config, describeConfig, flagOf, loadConfig, OPTIONS, type OptionName } from '../config.ts';
import { MeshtrailError } from '../core/error.ts';
import { type OptionSpec, textOption, type Verb, type VerbInput } from './args.ts';
import { type Column, note, print, table } from './output.ts';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
const NAMES = Object.keys(OPTIONS) as OptionName[];

const VALUE_NAMES = {
  integer: 'N',
  text: 'TEXT',
  address: 'HOST:PORT',
  origin: 'NAME',
  path: 'PATH',
  secret: 'KEY',
} as const;

function options(): Record<string, OptionSpec> {
  const own: Record<string, OptionSpec> = {
    config: { type: 'string', value: 'FILE', help: 'JSON file with these options as keys; also MESHTRAIL_CONFIG.' },
    'print-config': { type: 'boolean', help: 'Print every option, its value and where it comes from, and stop.' },
  };
  for (const name of NAMES)
    own[flagOf(name)] = {
      type: 'string',
      value: VALUE_NAMES[OPTIONS[name].type],
      help: OPTIONS[name].help,
      default: String(OPTIONS[name].default),
    };
  return own;
}

function configOf(input: VerbInput) {
  const flags: Partial<Record<OptionName, string>> = {};
  for (const name of NAMES) {
    const value = textOption(input, flagOf(name));
    if (value !== undefined) flags[name] = value;
  }
  return loadConfig({ flags, env: process.env, file: textOption(input, 'config') ?? process.env['MESHTRAIL_CONFIG'] });
}

function version(): string {
  return (JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as { version: string })
    .version;
}

const urlOf = ({ host, port }: { readonly host: string; readonly port: number }): string =>
  `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
const placeOf = ({ host, port }: { readonly host: string; readonly port: number }): string =>
  `${host.includes(':') ? `[${host}]` : host}:${port}`;

/** The options as they hold: a directory that has a log has its origin too. Throws STORE_FOREIGN. */
function rowsOf(config: Config) {
  const origin = originOf(config);
  return describeConfig(config).map((row) =>
    row.name === 'origin' && row.value !== origin ? { ...row, value: origin, source: 'directory' as const } : row,
  );
}

const CONFIG_COLUMNS: readonly Column<ReturnType<typeof rowsOf>[number]>[] = [
  { title: 'OPTION', of: ({ name }) => name },
  { title: 'VALUE', of: ({ value }) => String(value) },
  { title: 'SOURCE', of: ({ source }) => source },
];

export const serve: Verb = {
  summary:
    'Runs the collector: takes batches from proxies, answers queries, serves the log. SIGTERM or Ctrl-C stops it after what waits is written.',
  positionals: '',
  positionalsMin: 0,
  positionalsMax: 0,
  options: options(),
  examples: [
    'meshtrail serve --dir /var/lib/meshtrail --origin mesh.example.com/log',
    'meshtrail serve --dir ./trail --api 127.0.0.1:0 --ingest 127.0.0.1:0 --ready-file ready.json',
  ],
  async run(input) {
    const config = configOf(input);
    if (input.options['print-config'] === true) {
      print(table(CONFIG_COLUMNS, rowsOf(config)));
      return 0;
    }
    // Loaded already by --import when the launcher started this process; it must not cost the other verbs anything.
    const { serveMetrics, stopTelemetry } = await import('../telemetry.ts');
    const logger = loggerOf(config);
    if (config.sources.grpc !== 'default') note('meshtrail: --grpc is accepted, and nothing listens there yet');
    const end = endOf();
    const { ready_file: readyFile } = config.values;
    // A file that a killed collector left behind must not be taken for this one's.
    if (readyFile !== '') removeFile(readyFile);
    try {
      const shown = rowsOf(config).map(({ name, value, source }) => [name, `${value} (${source})`]);
      logger.info({ config: Object.fromEntries(shown) }, 'configuration');
      const collector = await startCollector({
        config,
        version: version(),
        logger,
        serveMetrics,
        onFatal: end.reached,
      });
      try {
        announce(collector, logger, readyFile);
        await end.promise;
        logger.info('stopping');
      } finally {
        if (readyFile !== '') removeFile(readyFile);
        await collector.close();
      }
    } finally {
      await stopTelemetry();
    }
    return 0;
  },
};

function loggerOf({ values }: Config): Logger {
  const destination = pino.destination({ dest: 2, sync: true });
  // Who reads the log may go away; the collector stays.
  destination.on('error', () => undefined);
  const redact = ['req.headers.authorization', 'req.headers.cookie'];
  return pino({ level: values.log_level, redact }, destination);
}

/** Resolves at the first signal, rejects with the error that stopped the log from signing. A second signal ends the process at once. */
function endOf(): { readonly promise: Promise<void>; readonly reached: (error: Error) => void } {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  // Awaited only once the collector runs; until then a rejection is not unhandled.
  promise.catch(() => undefined);
  const stop = (): void => {
    for (const signal of SIGNALS) process.removeListener(signal, stop);
    resolve();
  };
  for (const signal of SIGNALS) process.on(signal, stop);
  return { promise, reached: reject };
}

function announce(collector: Collector, logger: Logger, readyFile: string): void {
  const ready = {
    api: urlOf(collector.api),
    ingest: placeOf(collector.ingest),
    // The contract's key; null says that this collector has no such listener.
    grpc: null,
    origin: collector.origin,
    vkey: collector.vkey,
  };
  if (readyFile !== '') {
    try {
      writeWhole(readyFile, `${JSON.stringify({ ...ready, pid: process.pid })}\n`);
    } catch (cause) {
      throw new MeshtrailError(
        'CONFIG_INVALID',
        `--ready-file ${readyFile} cannot be written: ${(cause as Error).message}.`,
        { cause },
      );
    }
  }
  // Every line of the log has the pid.
  logger.info(ready, 'ready');
  note(`meshtrail: log ${collector.origin}, queries at ${ready.api}, batches at ${ready.ingest}; Ctrl-C stops`);
}
