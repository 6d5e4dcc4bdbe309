// How an option of `serve` looks in the table of docs/operations.md.

import { flagOf, type OPTIONS, type OptionName } from '../../collector/src/config.ts';

/** A row of the table. */
export function optionRow(name: OptionName, option: (typeof OPTIONS)[OptionName]): string {
  const range = option.type === 'integer' ? `, ${option.min} to ${option.max}` : '';
  const initial = option.default === '' ? '-' : `\`${option.default}\``;
  return `| \`--${flagOf(name)}\` | ${initial}${range} | ${option.help} |`;
}
