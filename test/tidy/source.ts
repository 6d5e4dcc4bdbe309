// Reads TypeScript and JavaScript just well enough for the tidy rules: masks comments and literals, finds imports and functions.
// Functions are found by indentation, which the formatter fixes.

const REGEX_MAY_FOLLOW = /(?:^|[(,=:[!&|?{};+\-*%<>~^]|\b(?:return|typeof|case|in|of|await|throw|yield))\s*$/;
const NO_METHOD = /^(?:if|for|while|switch|catch|return|function|await|throw|new|super|typeof|import|with)$/;
const METHOD =
  /^\s+(?:(?:static|async|get|set|override|readonly|private|public|protected)\s+)*\*?(#?[\w$]+)(?:<[^(]*>)?\(/;
const FUNCTION = /^\s*(?:export\s+)?(?:default\s+)?(?:async\s+)?function\b/;
const GROUP_OF_TESTS = /\b(?:describe|suite)\(/;

export interface ImportStatement {
  readonly specifier: string;
  readonly line: number;
}

export interface FunctionSpan {
  readonly line: number;
  readonly lines: number;
}

type Kind = 'code' | 'comment' | 'text';

/** Where a piece that is not code ends (exclusive), and what it is; undefined when code goes on at `at`. */
function pieceAt(source: string, at: number): { readonly end: number; readonly kind: Kind } | undefined {
  const two = source.slice(at, at + 2);
  if (two === '//') return { end: endOr(source, source.indexOf('\n', at)), kind: 'comment' };
  if (two === '/*') return { end: endOr(source, source.indexOf('*/', at + 2), 2), kind: 'comment' };
  const char = source[at];
  if (char === "'" || char === '"') return { end: quotedEnd(source, at, char), kind: 'text' };
  if (char === '/' && REGEX_MAY_FOLLOW.test(source.slice(Math.max(0, at - 40), at))) {
    return { end: regexEnd(source, at), kind: 'text' };
  }
  return undefined;
}

function endOr(source: string, found: number, extra = 0): number {
  return found === -1 ? source.length : found + extra;
}

function quotedEnd(source: string, from: number, quote: string): number {
  for (let at = from + 1; at < source.length; at += 1) {
    if (source[at] === '\\') at += 1;
    else if (source[at] === quote || source[at] === '\n') return at + 1;
  }
  return source.length;
}

function regexEnd(source: string, from: number): number {
  let isInClass = false;
  for (let at = from + 1; at < source.length; at += 1) {
    const char = source[at];
    if (char === '\\') at += 1;
    else if (char === '[') isInClass = true;
    else if (char === ']') isInClass = false;
    else if ((char === '/' && !isInClass) || char === '\n') return at + 1;
  }
  return source.length;
}

/** Index behind the text part of a template that begins at `from`: behind its closing quote, or behind `${`. */
function templateTextEnd(source: string, from: number): number {
  for (let at = from; at < source.length; at += 1) {
    if (source[at] === '\\') at += 1;
    else if (source[at] === '`') return at + 1;
    else if (source.startsWith('${', at)) return at + 2;
  }
  return source.length;
}

/** The source with the characters of the kinds named replaced by blanks; lines and columns stay. */
export function mask(source: string, kinds: readonly Kind[]): string {
  let masked = '';
  // One entry per open template expression: how many braces are open inside it.
  const templates: number[] = [];
  let at = 0;
  const take = (end: number, kind: Kind): void => {
    const piece = source.slice(at, end);
    masked += kinds.includes(kind) ? piece.replaceAll(/[^\n]/g, ' ') : piece;
    at = end;
  };
  while (at < source.length) {
    const piece = pieceAt(source, at);
    const char = source[at];
    const depth = templates.at(-1);
    if (piece !== undefined) take(piece.end, piece.kind);
    else if (char === '`' || (char === '}' && depth === 0)) {
      if (char === '}') templates.pop();
      const end = templateTextEnd(source, at + 1);
      if (source.startsWith('${', end - 2)) templates.push(0);
      take(end, 'text');
    } else {
      if (depth !== undefined && char === '{') templates[templates.length - 1] = depth + 1;
      if (depth !== undefined && char === '}') templates[templates.length - 1] = depth - 1;
      take(at + 1, 'code');
    }
  }
  return masked;
}

/** Every module that a source imports: statically, as a re-export, or by `import()` of a literal. */
export function importsOf(source: string): ImportStatement[] {
  const code = mask(source, ['comment']);
  const statement =
    /(?:^|\n)\s*(?:import|export)\b[^;'"`]*?\bfrom\s*['"]([^'"]+)['"]|(?:^|\n)\s*import\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]/g;
  return [...code.matchAll(statement)].map((match) => ({
    specifier: match[1] ?? match[2] ?? match[3] ?? '',
    line: lineAt(code, match.index + match[0].length),
  }));
}

/** Number of the line, from 1, of an offset in a text. */
export function lineAt(text: string, offset: number): number {
  return text.slice(0, offset).split('\n').length;
}

/** Functions with a body of several lines; a callback that only groups tests is left out. */
export function functionsOf(source: string): FunctionSpan[] {
  const lines = mask(source, ['comment', 'text'])
    .split('\n')
    .map((line) => line.trimEnd());
  return lines.flatMap((line, index) => {
    if (!isHead(line)) return [];
    const end = endOfBody(lines, index);
    return end === undefined ? [] : [{ line: index + 1, lines: end - index + 1 }];
  });
}

function isHead(line: string): boolean {
  if (GROUP_OF_TESTS.test(line)) return false;
  if (FUNCTION.test(line) || line.endsWith('=> {')) return true;
  const name = METHOD.exec(line)?.[1];
  return name !== undefined && !NO_METHOD.test(name) && (line.endsWith('(') || isBalanced(line));
}

function isBalanced(line: string): boolean {
  return line.endsWith('{') && line.split('(').length === line.split(')').length;
}

function endOfBody(lines: readonly string[], head: number): number | undefined {
  const indent = (lines[head] ?? '').search(/\S/);
  const nextAtIndent = (from: number): number =>
    lines.findIndex((line, index) => index > from && line !== '' && line.search(/\S/) === indent);
  for (let at = head; at >= 0; at = nextAtIndent(at)) {
    const line = lines[at] ?? '';
    if (at > head && !/^\s*[)>]/.test(line)) return undefined;
    if (!line.endsWith('{')) continue;
    const end = nextAtIndent(at);
    return end !== -1 && /^\s*\}/.test(lines[end] ?? '') ? end : undefined;
  }
  return undefined;
}
