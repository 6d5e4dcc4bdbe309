// How a field looks in the table of docs/query.md.

import type { Attribute } from '../../../collector/src/core/attributes.ts';

/** A row of the table. Where Envoy has no other name, its own is the field's, unless the value is not Envoy's. */
export function fieldRow({ name, type, class: kind, description, unit, envoy }: Attribute): string {
  const isEnvoys = kind === 'observed' || kind === 'claimed';
  const origin = envoy === undefined ? (isEnvoys ? `\`${name}\`` : '-') : /^metadata/.test(envoy) ? envoy : code(envoy);
  return `| \`${name}\` | ${type} | ${unit ?? '-'} | ${kind} | ${description} | ${origin} |`;
}

function code(names: string): string {
  return names
    .split(', ')
    .map((name) => (/ /.test(name) ? name : `\`${name}\``))
    .join(', ');
}
