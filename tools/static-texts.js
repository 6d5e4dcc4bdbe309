// A transform of the AssemblyScript compiler: the texts of the filter (filter/assembly/record/text.ts) become bytes of its data,
// each once, so that nothing is built or copied when a VM starts. A string of the language would take two bytes a character, an
// object header, and code that copies it.

import * as compiler from 'assemblyscript';
import { Transform } from 'assemblyscript/transform';

/** @typedef {import('assemblyscript').Node} SyntaxNode */

const { ArrayLiteralExpression, CallExpression, IdentifierExpression, ImportStatement, Node } = compiler;
const { StringLiteralExpression, VariableStatement } = compiler;
/** The compiler's tokens are a `const enum` to the type checker, and an object when it runs. */
const PLUS = Reflect.get(Reflect.get(compiler, String('Token')), 'Plus');
const ROOM = 'filter/assembly/record/text';
const POOL = 'TEXTS';
const TEXT_BYTES_MAX = 255;

/**
 * @param {number} value
 * @param {import('assemblyscript').Range} range
 */
function number(value, range) {
  return Node.createIntegerLiteralExpression(Reflect.get(globalThis, 'i64_new')(value), range);
}

/**
 * The bytes of a text. Of a path in one argument its dots part it; in several, each argument is a part as it is.
 * @param {string} callee
 * @param {readonly string[]} literals
 */
function textOf(callee, literals) {
  if (callee === 'text' || literals.length > 1) return literals.join('\0');
  return literals.join('').replaceAll('.', '\0');
}

/**
 * The text of a call of `text` or `path`; undefined for any other node.
 * @param {object} node
 */
function calledText(node) {
  if (!(node instanceof CallExpression) || !(node.expression instanceof IdentifierExpression)) return undefined;
  const callee = node.expression.text;
  if (callee !== 'text' && callee !== 'path') return undefined;
  const literals = node.args.flatMap((argument) => (argument instanceof StringLiteralExpression ? argument.value : []));
  const text = textOf(callee, literals);
  const isRight = literals.length === node.args.length && (callee === 'path' || literals.length === 1);
  if (isRight && text.length > 0 && text.length <= TEXT_BYTES_MAX && !/[^\0-\x7e]/.test(text)) return text;
  throw new Error(
    `${node.range.source.text.slice(node.range.start, node.range.end)}: 1 to 255 ASCII characters, literally`,
  );
}

/**
 * Goes through a syntax tree; what `visit` returns for a node stands in its place.
 * @param {object} node
 * @param {(node: object) => object | undefined} visit
 */
function replaceIn(node, visit) {
  for (const [key, child] of Object.entries(node)) {
    if (!Array.isArray(child) && !(child instanceof Node)) continue;
    const other = visit(child);
    if (other === undefined) replaceIn(child, visit);
    else Reflect.set(node, key, other);
  }
}

/**
 * The statement by which a source imports from the room.
 * @param {import('assemblyscript').Source} source
 */
function importOf({ statements }) {
  return statements.find((statement) => statement instanceof ImportStatement && statement.internalPath === ROOM);
}

/**
 * Writes all texts into the pool, in their order, and tells where each begins.
 * @param {import('assemblyscript').Source} room
 * @param {ReadonlySet<string>} texts
 */
function fillPool(room, texts) {
  /** @type {Map<string, number>} */
  const places = new Map();
  const bytes = [...texts].sort().flatMap((text) => [text.length, ...Buffer.from(text, 'latin1')]);
  let place = 0;
  for (const text of [...texts].sort()) {
    places.set(text, place);
    place += 1 + text.length;
  }
  const variables = room.statements.flatMap((one) => (one instanceof VariableStatement ? one.declarations : []));
  const made = variables.find(({ name }) => name.text === POOL)?.initializer;
  const literal = made instanceof CallExpression ? made.args[0] : undefined;
  if (!(literal instanceof ArrayLiteralExpression)) throw new Error(`${ROOM} has no ${POOL} of memory.data<u8>([0])`);
  literal.elementExpressions = bytes.map((byte) => number(byte, literal.range));
  return places;
}

export default class StaticTexts extends Transform {
  /** @param {import('assemblyscript').Parser} parser */
  afterParse({ sources }) {
    const room = sources.find(({ internalPath }) => internalPath === ROOM);
    if (room === undefined) return;
    const users = sources.filter((source) => importOf(source) !== undefined);
    /** @type {Set<string>} */
    const texts = new Set();
    for (const { statements } of users) {
      replaceIn(statements, (node) => {
        const text = calledText(node);
        if (text !== undefined) texts.add(text);
        return undefined;
      });
    }
    const places = fillPool(room, texts);
    for (const source of users) usePool(source, places);
  }
}

/**
 * Puts each text's place in the pool into its call's stead.
 * @param {import('assemblyscript').Source} source
 * @param {ReadonlyMap<string, number>} places
 */
function usePool(source, places) {
  replaceIn(source.statements, (node) => {
    const text = calledText(node);
    if (text === undefined || !(node instanceof CallExpression)) return undefined;
    const pool = Node.createIdentifierExpression(POOL, node.range);
    const sum = Node.createBinaryExpression(PLUS, pool, number(places.get(text) ?? 0, node.range), node.range);
    return Node.createParenthesizedExpression(sum, node.range);
  });
  const statement = importOf(source);
  if (!(statement instanceof ImportStatement)) return;
  const name = Node.createIdentifierExpression(POOL, statement.range);
  statement.declarations?.push(Node.createImportDeclaration(name, null, statement.range));
}
