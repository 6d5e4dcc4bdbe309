// Times as people give them: RFC 3339 with a zone and up to nanoseconds, or relative to now (`-15m`).

import { MeshtrailError } from './error.ts';

const UNITS_NS: Readonly<Record<string, bigint>> = {
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
  d: 86_400_000_000_000n,
};

function invalid(text: string): MeshtrailError {
  return new MeshtrailError(
    'TIME_INVALID',
    `${JSON.stringify(text.slice(0, 80))} is no time; give RFC 3339 with a zone (2026-11-24T13:00:00Z) or relative to now (-15m, -2h30m, now).`,
  );
}

/** Unix ns of an RFC 3339 text, or undefined. */
export function parseRfc3339(text: string): bigint | undefined {
  const match = /^(\d{4}-\d{2}-\d{2})[Tt ]((?:[01]\d|2[0-3]):\d{2}:\d{2})(?:\.(\d{1,9}))?([Zz]|[+-]\d{2}:\d{2})$/.exec(
    text,
  );
  if (match === null) return undefined;
  const [, day = '', clock = '', fraction = '', zone = ''] = match;
  const milliseconds = Date.parse(`${day}T${clock}${zone.toUpperCase()}`);
  // Date rolls 30 February over into March; such a day does not exist.
  if (Number.isNaN(milliseconds) || !isDay(day)) return undefined;
  return BigInt(milliseconds) * 1_000_000n + BigInt(fraction.padEnd(9, '0') || 0);
}

function isDay(text: string): boolean {
  const date = new Date(`${text}T00:00:00Z`);
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(text);
}

/** Parses a duration such as `90s`, `1h30m`, `1.5s`; undefined when it is none. */
export function parseDurationNs(text: string): bigint | undefined {
  if (!/^(?:\d{1,9}(?:\.\d{1,9})?(?:ms|s|m|h|d))+$/.test(text)) return undefined;
  let total = 0n;
  for (const [, whole = '', fraction = '', unit = ''] of text.matchAll(/(\d+)(?:\.(\d+))?(ms|s|m|h|d)/g)) {
    const ns = UNITS_NS[unit] ?? 0n;
    total += BigInt(whole) * ns + (BigInt(fraction || 0) * ns) / 10n ** BigInt(fraction.length);
  }
  return total;
}

/** Unix ns of a time text. Throws TIME_INVALID. */
export function parseTime(text: string, nowMs: number): bigint {
  const now = BigInt(Math.floor(nowMs)) * 1_000_000n;
  if (text === 'now') return now;
  if (text.startsWith('-')) {
    const back = parseDurationNs(text.slice(1));
    if (back === undefined || back > now) throw invalid(text);
    return now - back;
  }
  const absolute = parseRfc3339(text);
  if (absolute === undefined) throw invalid(text);
  return absolute;
}
