// What the demo prints at its end: counts that agree, the incident, the log's verification. At most 100 columns, colours on terminals only.

import { styleText } from 'node:util';
import { visible } from '../cli/output.ts';
import { toBase64 } from '../core/bytes.ts';
import type { FlowRecord } from '../core/record.ts';
import { type Agreement, type Incident, isAgreed, isEqual, type Pair } from './findings.ts';
import type { LogAudit } from './recorded.ts';

const CALL_WIDTH = 40;
const POLICY_WIDTH = 26;
const LABEL_WIDTH = 12;
const VERDICT_WIDTH = 11;
const LINES_MAX = 30;

type Style = Parameters<typeof styleText>[0];
const styled = (style: Style, text: string): string => styleText(style, text, { stream: process.stdout });
const head = (text: string): string => styled('bold', text);
const number = (value: number): string => value.toLocaleString('en-US');
const plural = (count: number, word: string): string => `${number(count)} ${word}${count === 1 ? '' : 's'}`;
const labelled = (label: string, text: string): string => `  ${label.padEnd(LABEL_WIDTH)}${text}`;

function cut(text: string, width: number): string {
  const safe = visible(text);
  return safe.length > width ? `${safe.slice(0, width - 1)}…` : safe;
}

function pairCells(pair: Pair, isOfNobody: boolean): string {
  if (isOfNobody) return `${'-'.padStart(9)}${'-'.padStart(10)}`;
  const text = `${number(pair.counted).padStart(9)}${number(pair.recorded).padStart(10)}`;
  return isEqual(pair) ? text : styled(['bold', 'red'], text);
}

/** Lines about what the collector itself says is missing; none when nothing is. */
export function gapLines(gaps: readonly string[]): string[] {
  if (gaps.length === 0) return [];
  return [
    styled(['bold', 'red'], `INCOMPLETE: the collector knows of ${plural(gaps.length, 'gap')}`),
    ...gaps.map((gap) => labelled('', cut(gap, 84))),
  ];
}

/** Lines about how the records compare with the services' own counts. */
export function countLines(agreements: readonly Agreement[], recordCount: number, proxies: number): string[] {
  const rows = agreements.map(({ service, sent, received, refused }) => {
    const isVisitors = received.counted + received.recorded + refused.counted + refused.recorded === 0;
    const cells = [pairCells(sent, false), pairCells(received, isVisitors), pairCells(refused, isVisitors)];
    return `  ${service.padEnd(LABEL_WIDTH)}${cells.join('   ')}`;
  });
  const counts = agreements.flatMap(({ sent, received, refused }) => [sent, received, refused]);
  const off = counts.reduce((sum, { counted, recorded }) => sum + Math.abs(counted - recorded), 0);
  const verdict = isAgreed(agreements)
    ? styled('green', '  They agree: each request is in the log exactly once for every sidecar that it passed.')
    : styled(
        ['bold', 'red'],
        `  THEY DISAGREE by ${plural(off, 'record')}: the recorder missed some, or counted some twice.`,
      );
  const columns = ['SENT', 'RECEIVED', 'REFUSED'].map((title) => title.padStart(19)).join('   ');
  const halves = Array.from({ length: 3 }, () => `${'counted'.padStart(9)}${'recorded'.padStart(10)}`).join('   ');
  return [
    head(`Recorded: ${plural(recordCount, 'record')} by ${plural(proxies, 'proxy').replace('proxys', 'proxies')}`),
    `  ${' '.repeat(LABEL_WIDTH)}${columns}`,
    `  ${' '.repeat(LABEL_WIDTH)}${halves}`,
    ...rows,
    verdict,
  ];
}

const secondsOf = (time: string): number =>
  Date.parse(`${time.slice(0, 19)}Z`) / 1000 + Number(`0${time.slice(19, -1)}`);

const VERDICT_STYLES: Readonly<Record<string, Style>> = { denied: 'red', allowed: 'green' };

function callLine(record: FlowRecord, began: string, remark = record.policy ?? ''): string {
  const { verdict, request, response } = record;
  const since = `+${(secondsOf(record.time) - secondsOf(began)).toFixed(3)}s`.padStart(8);
  const outcome = `${verdict} ${response.code ?? '-'}`.padEnd(VERDICT_WIDTH);
  const style = (response.code ?? 0) === 404 ? undefined : VERDICT_STYLES[verdict];
  const call = `${(request.method ?? '-').padEnd(4)} ${request.host ?? '-'}${request.path ?? ''}`;
  return [
    `  ${since}`,
    style === undefined ? outcome : styled(style, outcome),
    cut(call, CALL_WIDTH).padEnd(CALL_WIDTH),
    cut(remark, POLICY_WIDTH).padEnd(POLICY_WIDTH),
    record.id,
  ].join('  ');
}

const bytesOf = (records: readonly FlowRecord[], side: 'request' | 'response'): number =>
  records.reduce((sum, record) => sum + (record[side].total_size ?? 0), 0);
const oneOf = (texts: readonly (string | undefined)[]): string =>
  [...new Set(texts.map((text) => text ?? '-'))].join(', ');

function afterLines(incident: Incident, began: string): string[] {
  const { firstAllowed, allowed, onBehalf, sentOut, denied } = incident;
  if (firstAllowed === undefined) return ['  None of its calls was answered.'];
  const before = denied.filter(({ time }) => time < firstAllowed.time).length;
  const { shadow_policy: shadow } = firstAllowed.rbac;
  const reads = allowed.slice(1);
  const lastRead = allowed.at(-1) ?? firstAllowed;
  const tenth = ' '.repeat(12);
  const lines = [
    callLine(firstAllowed, began),
    `${tenth}the first of its kind, after ${plural(before, 'refusal')}${shadow === undefined ? '.' : '; the dry-run policy'}`,
    ...(shadow === undefined ? [] : [`${tenth}${shadow} would have refused it.`]),
  ];
  if (reads.length > 0) {
    lines.push(
      callLine(lastRead, began, `the last of ${number(reads.length)} more`),
      `${tenth}${number(bytesOf(allowed, 'response'))} bytes of answers; by trace id, ${plural(onBehalf.length, 'call')} to ` +
        `${oneOf(onBehalf.map((r) => r.request.host))} on their behalf.`,
    );
  }
  for (const record of sentOut)
    lines.push(callLine(record, began, `${number(record.request.total_size ?? 0)} bytes out`));
  return lines;
}

/** Lines about the incident. */
export function incidentLines(incident: Incident | undefined): string[] {
  if (incident === undefined) return [head('Incident'), '  No call was refused.'];
  const { principal, certificates, denied, notFound, firstAllowed, sentOut } = incident;
  const began = denied[0]?.time ?? '';
  const until = firstAllowed?.time ?? '9999';
  const probes = [...denied, ...notFound].filter(({ time }) => time < until).sort((a, b) => (a.time < b.time ? -1 : 1));
  const refusers = new Set(denied.map((record) => record.node.cluster));
  return [
    head('The incident, from the records alone'),
    labelled('identity', styled('bold', visible(principal))),
    labelled('shown by', `certificate ${cut(oneOf(certificates), 24)}, over mTLS`),
    labelled('refused by', cut(oneOf([...refusers]), 80)),
    labelled('began', `${began.slice(0, 10)} ${began.slice(11, 23)} UTC`),
    '',
    ...probes.slice(0, LINES_MAX).map((record) => callLine(record, began)),
    ...(probes.length > LINES_MAX ? [`  ... and ${number(probes.length - LINES_MAX)} more`] : []),
    ...afterLines(incident, began),
    '',
    labelled(
      'sent out',
      styled(
        'bold',
        `${number(bytesOf(sentOut, 'request'))} bytes in ${plural(sentOut.length, 'request')} to ${visible(oneOf(sentOut.map((r) => r.request.host)))}`,
      ),
    ),
  ];
}

/** Lines about the log. */
export function logLines(audit: LogAudit, expectedStreams: readonly string[]): string[] {
  const { checkpoint, entries, findings, isComplete, streams, proven } = audit;
  const isGood = findings.length === 0 && isComplete;
  const broken = streams.filter(({ isWhole, isEnded }) => !isWhole || !isEnded);
  const silent = expectedStreams.filter((node) => !streams.some((stream) => stream.node === node));
  const dropped = streams.reduce(
    (sum, { counters: c }) => sum + c.droppedBuffersFull + c.droppedUnreadable + c.droppedNoRandom,
    0,
  );
  const whole =
    broken.length === 0
      ? `${plural(streams.length, 'recorder')}, each whole from its first record to its last word`
      : `${number(broken.length)} of ${streams.length} not whole: ${oneOf(broken.map(({ node }) => node))}`;
  return [
    head(`The log ${checkpoint.origin}`),
    labelled('signed', `size ${number(checkpoint.size)}, root ${toBase64(checkpoint.root)}`),
    isGood
      ? labelled(
          'verified',
          styled(
            'green',
            `all ${plural(entries, 'entry').replace('entrys', 'entries')} hashed again, every tile recomputed, the signature is good`,
          ),
        )
      : labelled('DAMAGED', styled(['bold', 'red'], `${plural(findings.length, 'finding')}`)),
    ...findings.map(({ code, place, message }) => labelled('', cut(`${code} ${place}: ${message}`, 88))),
    ...(proven === undefined
      ? []
      : [
          labelled(
            'proven',
            styled('green', `record ${proven}, by its own proof and nothing but the log's public key`),
          ),
        ]),
    labelled(
      'streams',
      `${whole}; ${dropped === 0 ? 'nothing dropped' : `${plural(dropped, 'record')} dropped and counted`}`,
    ),
    ...silent.map((node) => labelled('', styled('red', `${node} recorded nothing`))),
  ];
}

/** Whether a log check leaves no doubt. */
export function isSound({ findings, isComplete, streams }: LogAudit): boolean {
  return findings.length === 0 && isComplete && streams.every(({ isWhole }) => isWhole);
}
