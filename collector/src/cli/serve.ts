// `meshtrail serve`: the collector, until a signal.

import { readFileSync } from 'node:fs';
import { pino } from 'pino';
import { removeFile, startCollector, writeWhole } from '../compose.ts';
import { describeConfig, flagOf, loadConfig, OPTIONS, type OptionName } from '../config.ts';
import { type OptionSpec, textOption, type Verb, type VerbInput } from './args.ts';
import { note, print, table } from './output.ts';

const NAMES = Object.keys(OPTIONS) as OptionName[];

function options(): Record<string, OptionSpec> {
  const own: Record<string, OptionSpec> = {
    config: { type: 'string', value: 'FILE', help: 'JSON file with these options as keys; also MESHTRAIL_CONFIG.' },
    'print-config': { type: 'boolean', help: 'Print every option, its value and where it comes from, and stop.' },
  };
  for (const name of NAMES)
    own[flagOf(name)] = {
      type: 'string',
      value: OPTIONS[name].type === 'integer' ? 'N' : 'VALUE',
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
    const rows = describeConfig(config);
    if (input.options['print-config'] === true) {
      print(
        table(
          [
            { title: 'OPTION', of: (r) => r.name },
            { title: 'VALUE', of: (r) => String(r.value) },
            { title: 'SOURCE', of: (r) => r.source },
          ],
          rows,
        ),
      );
      return 0;
    }
    // Loaded already by --import when the launcher started this process; it must not cost the other verbs anything.
    const { serveMetrics, stopTelemetry } = await import('../telemetry.ts');
    const logger = pino(
      { level: config.values.log_level, redact: ['req.headers.authorization', 'req.headers.cookie'] },
      pino.destination({ dest: 2, sync: true }),
    );
    logger.info(
      { config: Object.fromEntries(rows.map(({ name, value, source }) => [name, `${value} (${source})`])) },
      'configuration',
    );
    let fatal: Error | undefined;
    let stop: () => void = () => undefined;
    const stopped = new Promise<void>((resolve) => {
      stop = resolve;
    });
    const collector = await startCollector({
      config,
      version: version(),
      logger,
      serveMetrics,
      onFatal: (error) => {
        fatal = error;
        stop();
      },
    });
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, stop);
    const { ready_file: readyFile } = config.values;
    const ready = {
      api: urlOf(collector.api),
      ingest: placeOf(collector.ingest),
      grpc: null,
      origin: collector.origin,
      vkey: collector.vkey,
      pid: process.pid,
    };
    if (readyFile !== '') writeWhole(readyFile, `${JSON.stringify(ready)}\n`);
    logger.info(ready, 'ready');
    note(`meshtrail: log ${collector.origin}, queries at ${ready.api}, batches at ${ready.ingest}; Ctrl-C stops`);
    await stopped;
    if (readyFile !== '') removeFile(readyFile);
    logger.info('stopping');
    await collector.close();
    await stopTelemetry();
    if (fatal === undefined) return 0;
    throw fatal;
  },
};
