// What the documentation tests read out of Markdown: commands in shell blocks, links, headings.

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** Every Markdown file of the repository's own, as paths from its root. */
export function pages(): string[] {
  const below = (dir: string): string[] =>
    readdirSync(join(ROOT, dir), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.md') && !name.includes('node_modules'))
      .map((name) => join(dir, name));
  return ['README.md', 'CHANGELOG.md', ...below('docs'), ...below('envoy-configs')].sort();
}

/** Lines of the `sh` blocks of a text, without comments. */
export function commandsOf(text: string): string[] {
  const blocks = [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map((match) => match[1] as string);
  return blocks
    .flatMap((block) => block.split('\n'))
    .map((line) => line.replace(/\s+# .*$/, '').trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
}

/** A heading's anchor, as GitHub makes it. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
    .trim()
    .replaceAll(' ', '-');
}

export function anchorsOf(text: string): Set<string> {
  const prose = text.replaceAll(/^```[\s\S]*?^```$/gm, '');
  return new Set([...prose.matchAll(/^#+\s+(.+)$/gm)].map((match) => anchorOf(match[1] as string)));
}

export interface Link {
  readonly target: string;
  /** Path from the root, without the anchor. */
  readonly path: string;
  readonly anchor: string | undefined;
}

/** Relative links of a page, code left out. */
export function linksOf(page: string): Link[] {
  const text = readFileSync(join(ROOT, page), 'utf8')
    .replaceAll(/^```[\s\S]*?^```$/gm, '')
    .replaceAll(/`[^`\n]*`/g, '');
  return [...text.matchAll(/\]\(([^)\s]+)\)/g)]
    .map((match) => match[1] as string)
    .filter((target) => !/^[a-z]+:/.test(target))
    .map((target) => {
      const [file = '', anchor] = target.split('#');
      return { target, path: file === '' ? page : relative(ROOT, join(ROOT, dirname(page), file)), anchor };
    });
}
